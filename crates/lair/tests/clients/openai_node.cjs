// OpenAI's client for Node: chats, tools, structured answers, responses, embeddings, errors, cancelling.
const assert = require("node:assert/strict");
const OpenAI = require("openai");

const URL = process.argv[2] + "/v1";
const client = new OpenAI({ baseURL: URL, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "Once upon a time" }];
const chat = { model: "told", messages, temperature: 0, max_tokens: 24 };
const parameters = { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } } };
const tools = [{ type: "function", function: { name: "weather", parameters } }];

async function models() {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert(names.includes("told:latest"), names);
}

async function chats() {
  const whole = await client.chat.completions.create(chat);
  const text = whole.choices[0].message.content;
  assert(text && whole.choices[0].finish_reason === "length" && whole.usage.completion_tokens === 24);
  let streamed = "", usage;
  const options = { stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.chat.completions.create({ ...chat, ...options })) {
    streamed += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(streamed, text);
  assert.equal(usage.completion_tokens, 24);
  const runner = client.chat.completions.stream(chat);
  assert.equal(await runner.finalContent(), text);
}

async function embeddings() {
  const input = ["Hello world", "A cat sits on the mat."];
  const coded = await client.embeddings.create({ model: "embedder", input });
  const plain = await client.embeddings.create({ model: "embedder", input, encoding_format: "float" });
  coded.data.forEach((one, index) => {
    assert.equal(one.embedding.length, 64);
    one.embedding.forEach((x, i) => assert(Math.abs(x - plain.data[index].embedding[i]) < 1e-6));
  });
}

async function calls() {
  const asked = { model: "agent", messages: [{ role: "user", content: "Weather in Rome?" }] };
  const answer = (await client.chat.completions.create({ ...asked, tools })).choices[0];
  assert.equal(answer.finish_reason, "tool_calls");
  assert.deepEqual(JSON.parse(answer.message.tool_calls[0].function.arguments), { city: "Rome", days: 2 });
  // The client's own loop: it runs the function and asks again.
  const called = [];
  const run = (given) => called.push(given) && "sunny";
  const runnable = { type: "function", function: { name: "weather", parameters, parse: JSON.parse, function: run } };
  for (const stream of [false, true]) {
    const runner = client.chat.completions.runTools({ ...asked, tools: [runnable], stream });
    assert.equal(await runner.finalContent(), "It is sunny in Rome.");
  }
  assert.deepEqual(called, [{ city: "Rome", days: 2 }, { city: "Rome", days: 2 }]);
}

async function structured() {
  const schema = { type: "object", properties: { city: { type: "string", enum: ["Rome", "Oslo"] } }, required: ["city"],
    additionalProperties: false };
  const response_format = { type: "json_schema", json_schema: { name: "place", strict: true, schema } };
  const answer = await client.chat.completions.create({ ...chat, max_tokens: 100, response_format });
  assert(["Rome", "Oslo"].includes(JSON.parse(answer.choices[0].message.content).city));
}

async function responses() {
  const ask = { model: "told", input: "Once upon a time", temperature: 0, max_output_tokens: 12 };
  const whole = await client.responses.create(ask);
  assert(whole.output_text && whole.status === "incomplete", whole);
  let text = "", expected = 0;
  for await (const event of await client.responses.create({ ...ask, stream: true })) {
    assert.equal(event.sequence_number, expected++);
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  assert.equal(text, whole.output_text);
}

async function errors() {
  await assert.rejects(client.chat.completions.create({ ...chat, model: "nobody" }), OpenAI.NotFoundError);
  await assert.rejects(client.chat.completions.create({ ...chat, n: 0 }), OpenAI.BadRequestError);
  await assert.rejects(client.embeddings.create({ model: "embedder", input: "" }), OpenAI.BadRequestError);
}

async function cancelled() {
  const leave = async () => {
    const stream = await client.chat.completions.create({ model: "endless", messages, stream: true });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
    stream.controller.abort();
  };
  await Promise.all(Array.from({ length: 8 }, leave));
  const again = await Promise.all(Array.from({ length: 4 }, () => client.chat.completions.create(chat)));
  assert.equal(new Set(again.map((answer) => answer.choices[0].message.content)).size, 1);
}

(async () => {
  for (const part of [models, chats, embeddings, calls, structured, responses, errors, cancelled]) await part();
})();
