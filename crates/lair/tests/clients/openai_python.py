"""OpenAI's Python client: chats, completions, embeddings, tools, structured answers, responses, errors, cancelling."""

import asyncio
import sys
from typing import Literal

import openai
import pydantic

URL = sys.argv[1] + "/v1"
client = openai.OpenAI(base_url=URL, api_key="none", max_retries=0)
CHAT = dict(model="told", messages=[{"role": "user", "content": "Once upon a time"}], temperature=0, max_tokens=24)


class Weather(pydantic.BaseModel):
    city: Literal["Rome", "Oslo"]
    is_sunny: bool


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}}


def models():
    names = [model.id for model in client.models.list()]
    assert {"told:latest", "tiny:latest"} <= set(names), names
    assert client.models.retrieve("told").object == "model"


def chats():
    whole = client.chat.completions.create(**CHAT)
    text = whole.choices[0].message.content
    assert whole.object == "chat.completion" and text and whole.choices[0].finish_reason == "length", whole
    usage = whole.usage
    assert usage.completion_tokens == 24 and usage.total_tokens == usage.prompt_tokens + 24, usage
    chunks = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **CHAT))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text, chunks
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 24, chunks[-1]
    assert chunks[0].choices[0].delta.role == "assistant" and len({chunk.id for chunk in chunks}) == 1
    several = client.chat.completions.create(n=3, seed=7, **{**CHAT, "temperature": 1})
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in several.choices}) > 1, several
    again = client.chat.completions.create(n=3, seed=7, **{**CHAT, "temperature": 1})
    assert [c.message.content for c in again.choices] == [c.message.content for c in several.choices]
    stop = text[4:7]
    stopped = client.chat.completions.create(stop=[stop], **CHAT).choices[0]
    assert stopped.message.content == text[: text.index(stop)] and stopped.finish_reason == "stop", (stopped, text)
    likely = client.chat.completions.create(logprobs=True, top_logprobs=2, **CHAT).choices[0].logprobs.content
    assert "".join(token.token for token in likely).strip() == text.strip() and len(likely) == 24
    assert all(len(token.top_logprobs) == 2 and token.top_logprobs[0].logprob == token.logprob for token in likely)


def completions():
    ask = dict(model="tiny", prompt="Once upon a time", temperature=0, max_tokens=16)
    whole = client.completions.create(**ask)
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(stream=True, **ask))
    assert streamed == whole.choices[0].text != "", (streamed, whole)
    echoed = client.completions.create(echo=True, logprobs=1, **ask).choices[0]
    assert echoed.text == "Once upon a time" + streamed, echoed
    assert echoed.logprobs.token_logprobs[0] is None and all(x < 0 for x in echoed.logprobs.token_logprobs[1:])
    both = client.completions.create(**{**ask, "prompt": ["Once upon a time", "Lily"]})
    assert [choice.index for choice in both.choices] == [0, 1] and both.choices[0].text == streamed


def embeddings():
    texts = ["Hello world", "A cat sits on the mat."]
    # The client asks for base64 where it is not told otherwise.
    coded = client.embeddings.create(model="embedder", input=texts)
    plain = client.embeddings.create(model="embedder", input=texts, encoding_format="float")
    for one, other in zip(coded.data, plain.data, strict=True):
        assert len(one.embedding) == 64, one
        assert all(abs(a - b) < 1e-6 for a, b in zip(one.embedding, other.embedding, strict=True))
    assert coded.usage == plain.usage and coded.usage.prompt_tokens > 4
    assert len(client.embeddings.create(model="embedder", input="x", dimensions=16).data[0].embedding) == 16


def tools():
    ask = dict(model="agent", tools=[WEATHER], max_tokens=200)
    messages = [{"role": "user", "content": "Weather in Rome?"}]
    answer = client.chat.completions.create(messages=messages, **ask).choices[0]
    [call] = answer.message.tool_calls
    assert answer.finish_reason == "tool_calls" and answer.message.content is None, answer
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Rome", "days": 2}'), call
    with client.chat.completions.stream(messages=messages, **ask) as stream:
        kinds = {event.type for event in stream}
    final = stream.get_final_completion().choices[0]
    assert final.message.tool_calls[0].function.arguments == call.function.arguments, final
    assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds, kinds
    messages += [answer.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    told = client.chat.completions.create(messages=messages, **ask).choices[0]
    assert told.message.content == "It is sunny in Rome." and told.finish_reason == "stop", told


def structured():
    parsed = client.chat.completions.parse(response_format=Weather, **{**CHAT, "max_tokens": 200})
    assert isinstance(parsed.choices[0].message.parsed, Weather), parsed
    response = client.responses.parse(model="told", input="Once upon a time", text_format=Weather, temperature=0)
    assert isinstance(response.output_parsed, Weather), response


def responses():
    ask = dict(model="told", input="Once upon a time", temperature=0, max_output_tokens=12)
    whole = client.responses.create(**ask)
    assert whole.status == "incomplete" and whole.incomplete_details.reason == "max_output_tokens", whole
    assert whole.output_text and whole.usage.output_tokens == 12
    with client.responses.stream(**ask) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text
    assert events[-1].type == "response.incomplete" and events[-1].response.output_text == whole.output_text
    kept = client.responses.retrieve(whole.id)
    assert kept.output_text == whole.output_text
    more = client.responses.create(previous_response_id=whole.id, **ask)
    assert more.usage.input_tokens > whole.usage.input_tokens + 12, more.usage
    client.responses.delete(whole.id)
    fails(openai.NotFoundError, lambda: client.responses.retrieve(whole.id))


def fails(kind, call):
    try:
        call()
    except kind as error:
        assert error.body["message"], error
        return
    raise AssertionError(f"{kind.__name__} expected")


def errors():
    hi = [{"role": "user", "content": "hi"}]
    fails(openai.NotFoundError, lambda: client.chat.completions.create(model="nobody", messages=hi))
    fails(openai.BadRequestError, lambda: client.chat.completions.create(model="told", messages=hi, n=0))
    fails(openai.BadRequestError, lambda: client.chat.completions.create(model="told", messages=hi, top_p=1.5))
    fails(openai.BadRequestError, lambda: client.completions.create(model="tiny", prompt="word " * 4000))
    fails(openai.BadRequestError, lambda: client.embeddings.create(model="embedder", input=""))
    try:
        openai.OpenAI(base_url=sys.argv[1] + "/nowhere", api_key="none", max_retries=0).models.list()
    except openai.NotFoundError:
        pass
    else:
        raise AssertionError("no such path")


async def cancelled():
    """Streams that are left, whose places others then have; many at a time."""
    many = openai.AsyncOpenAI(base_url=URL, api_key="none", max_retries=0)
    ask = {**CHAT, "model": "endless", "max_tokens": None}

    async def leave():
        stream = await many.chat.completions.create(stream=True, **ask)
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        await stream.close()

    await asyncio.gather(*(leave() for _ in range(24)))
    texts = await asyncio.gather(*(many.chat.completions.create(**CHAT) for _ in range(8)))
    assert len({answer.choices[0].message.content for answer in texts}) == 1


for part in (models, chats, completions, embeddings, tools, structured, responses, errors):
    part()
asyncio.run(cancelled())
