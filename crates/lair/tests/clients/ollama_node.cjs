// Ollama's client for JavaScript: models, chats, continuations, tools, structured answers, embeddings, errors, leaving.
const assert = require("node:assert/strict");
const { Ollama } = require("ollama");

const client = new Ollama({ host: process.argv[2] });
const messages = [{ role: "user", content: "Once upon a time" }];
const options = { temperature: 0, num_predict: 24 };
const parameters = { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } } };
const tools = [{ type: "function", function: { name: "weather", description: "Tells the weather.", parameters } }];

async function models() {
  const names = (await client.list()).models.map((model) => model.name);
  assert(names.includes("told:latest"), names);
  const shown = await client.show({ model: "told" });
  assert.equal(shown.details.format, "gguf");
  await client.copy({ source: "told", destination: "copied" });
  await client.delete({ model: "copied" });
  const steps = [];
  const making = await client.create({ model: "made", from: "told", system: "Be brief.", stream: true });
  for await (const step of making) steps.push(step.status);
  assert.equal(steps.at(-1), "success");
  assert.equal((await client.show({ model: "made" })).system, "Be brief.");
  await client.delete({ model: "made" });
}

async function chats() {
  const whole = await client.chat({ model: "told", messages, options });
  assert(whole.done && whole.done_reason === "length" && whole.eval_count === 24);
  let text = "", last;
  for await (const part of await client.chat({ model: "told", messages, options, stream: true })) {
    text += part.message.content;
    last = part;
  }
  assert.equal(text, whole.message.content);
  assert(last.done && last.eval_count === 24);
  const told = await client.generate({ model: "tiny", prompt: "Once upon a time", raw: true, options });
  let streamed = "";
  const asked = { model: "tiny", prompt: "Once upon a time", raw: true, options, stream: true };
  for await (const part of await client.generate(asked)) streamed += part.response;
  assert.equal(streamed, told.response);
  assert((await client.ps()).models.some((model) => model.name === "told:latest"));
}

async function calls() {
  const said = [{ role: "user", content: "Weather in Rome?" }];
  const answer = await client.chat({ model: "agent", messages: said, tools });
  const call = answer.message.tool_calls[0].function;
  assert.equal(call.name, "weather");
  assert.deepEqual(call.arguments, { city: "Rome", days: 2 });
  said.push(answer.message, { role: "tool", tool_name: "weather", content: "sunny" });
  assert.equal((await client.chat({ model: "agent", messages: said, tools })).message.content, "It is sunny in Rome.");
}

async function structured() {
  const format = { type: "object", properties: { city: { type: "string", enum: ["Rome", "Oslo"] } }, required: ["city"] };
  const answer = await client.chat({ model: "told", messages, format, options: { temperature: 0 } });
  assert(["Rome", "Oslo"].includes(JSON.parse(answer.message.content).city), answer);
}

async function embeddings() {
  const vectors = await client.embed({ model: "embedder", input: ["Hello world", "A cat sits on the mat."] });
  assert.deepEqual(vectors.embeddings.map((vector) => vector.length), [64, 64]);
  const length = Math.hypot(...vectors.embeddings[0]);
  assert(Math.abs(length - 1) < 1e-5);
}

async function errors() {
  const is = (status) => (error) => error.name === "ResponseError" && error.status_code === status && error.error !== "";
  await assert.rejects(client.chat({ model: "nobody", messages }), is(404));
  await assert.rejects(client.show({ model: "nobody" }), is(404));
  await assert.rejects(client.chat({ model: "told", messages, options: { temperature: "warm" } }), is(400));
}

async function left() {
  const leave = async () => {
    const stream = await client.chat({ model: "endless", messages, stream: true });
    for await (const part of stream) if (part.message.content) break;
    stream.abort();
  };
  await Promise.all(Array.from({ length: 8 }, leave));
  const again = await Promise.all(Array.from({ length: 4 }, () => client.chat({ model: "told", messages, options })));
  assert.equal(new Set(again.map((answer) => answer.message.content)).size, 1);
}

(async () => {
  for (const part of [models, chats, calls, structured, embeddings, errors, left]) await part();
})();
