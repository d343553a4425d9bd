"""Anthropic's Python client: messages, tools, structured answers, counting, models, errors, cancelling."""

import asyncio
import json
import sys

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="none", max_retries=0)
ASK = dict(model="told", max_tokens=24, messages=[{"role": "user", "content": "Once upon a time"}], system="Be brief.")
GREEDY = {"extra_body": {"temperature": 0}}
TOOL = {"name": "weather", "input_schema": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}, "days": {"enum": [1, 2, 3]}},
    "required": ["city", "days"]}}


def messages():
    whole = client.messages.create(**ASK, **GREEDY)
    assert whole.role == "assistant" and whole.stop_reason == "max_tokens" and whole.usage.output_tokens == 24, whole
    with client.messages.stream(**ASK, **GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text != "", (text, whole, final)
    assert final.usage.output_tokens == 24 and final.stop_reason == "max_tokens", final
    counted = client.messages.count_tokens(**{key: ASK[key] for key in ("model", "messages", "system")})
    assert counted.input_tokens == whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0), counted
    stop = text[4:7]
    stopped = client.messages.create(stop_sequences=[stop], **ASK, **GREEDY)
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", stop), stopped
    assert stopped.content[0].text == text[: text.index(stop)]


def tools():
    ask = dict(model="agent", max_tokens=200, tools=[TOOL])
    said = [{"role": "user", "content": "Weather in Rome?"}]
    answer = client.messages.create(messages=said, **ask)
    [call] = [block for block in answer.content if block.type == "tool_use"]
    assert answer.stop_reason == "tool_use" and (call.name, call.input) == ("weather", {"city": "Rome", "days": 2})
    with client.messages.stream(messages=said, **ask) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    assert json.loads("".join(pieces)) == call.input == final.content[-1].input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    said += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    told = client.messages.create(messages=said, **ask)
    assert told.content[0].text == "It is sunny in Rome." and told.stop_reason == "end_turn", told


    for choice in ({"type": "any"}, {"type": "tool", "name": "weather"}):
        forced = client.messages.create(messages=said[:1], tool_choice=choice, **{**ask, "model": "forms"}, **GREEDY)
        assert forced.content[-1].type == "tool_use" and forced.content[-1].name == "weather", forced


def structured():
    schema = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
              "required": ["city"], "additionalProperties": False}
    answer = client.messages.create(
        output_config={"format": {"type": "json_schema", "schema": schema}}, **{**ASK, "max_tokens": 100}, **GREEDY)
    assert json.loads(answer.content[0].text)["city"] in ("Rome", "Oslo"), answer


def errors():
    for kind, change in (
        (anthropic.NotFoundError, {"model": "nobody"}),
        (anthropic.BadRequestError, {"max_tokens": 0}),
        (anthropic.BadRequestError, {"messages": []}),
        (anthropic.BadRequestError, {"messages": [{"role": "user", "content": "word " * 4000}]}),
    ):
        try:
            client.messages.create(**{**ASK, **change})
        except kind as error:
            assert error.body["type"] == "error" and error.body["error"]["message"], error.body
        else:
            raise AssertionError(f"{kind.__name__} expected")


async def cancelled():
    many = anthropic.AsyncAnthropic(base_url=sys.argv[1], api_key="none", max_retries=0)

    async def leave():
        async with many.messages.stream(**{**ASK, "model": "endless", "max_tokens": 100_000}) as stream:
            async for _ in stream.text_stream:
                return

    await asyncio.gather(*(leave() for _ in range(24)))
    answers = await asyncio.gather(*(many.messages.create(**ASK, **GREEDY) for _ in range(8)))
    assert len({answer.content[0].text for answer in answers}) == 1


for part in (messages, tools, structured, errors):
    part()
asyncio.run(cancelled())
