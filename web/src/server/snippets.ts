/** Programs to copy that use this server as they are printed: pure. */

export interface Snippet {
  name: string;
  code: string;
}

/** For this address, model and, where one is asked for, with a place for the key. */
export function snippets(base: string, model: string, asksForKeys: boolean): Snippet[] {
  const key = asksForKeys ? "YOUR-KEY" : "none";
  const bearer = asksForKeys ? ` \\\n  -H "Authorization: Bearer ${key}"` : "";
  const name = JSON.stringify(model);
  return [
    {
      name: "curl",
      code: `curl ${base}/v1/chat/completions${bearer} \\\n  -H "Content-Type: application/json" \\\n  -d '{"model": ${name}, "messages": [{"role": "user", "content": "Hello"}]}'`,
    },
    {
      name: "Python, openai",
      code: `from openai import OpenAI\n\nclient = OpenAI(base_url="${base}/v1", api_key="${key}")\nanswer = client.chat.completions.create(\n    model=${name},\n    messages=[{"role": "user", "content": "Hello"}],\n)\nprint(answer.choices[0].message.content)`,
    },
    {
      name: "JavaScript, openai",
      code: `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${base}/v1", apiKey: "${key}" });\nconst answer = await client.chat.completions.create({\n  model: ${name},\n  messages: [{ role: "user", content: "Hello" }],\n});\nconsole.log(answer.choices[0].message.content);`,
    },
    {
      name: "Python, ollama",
      code: `from ollama import Client\n\nclient = Client(host="${base}"${asksForKeys ? `, headers={"Authorization": "Bearer ${key}"}` : ""})\nanswer = client.chat(model=${name}, messages=[{"role": "user", "content": "Hello"}])\nprint(answer.message.content)`,
    },
    {
      name: "Python, anthropic",
      code: `from anthropic import Anthropic\n\nclient = Anthropic(base_url="${base}", api_key="${key}")\nanswer = client.messages.create(\n    model=${name},\n    max_tokens=256,\n    messages=[{"role": "user", "content": "Hello"}],\n)\nprint(answer.content[0].text)`,
    },
  ];
}
