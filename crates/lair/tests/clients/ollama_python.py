"""Ollama's Python client: chats, continuations, embeddings, tools, structured answers, errors, leaving in mid stream."""

import asyncio
import sys
from typing import Literal

import ollama
import pydantic

client = ollama.Client(host=sys.argv[1])
HI = [{"role": "user", "content": "Once upon a time"}]
GREEDY = {"temperature": 0, "num_predict": 24}


class Weather(pydantic.BaseModel):
    city: Literal["Rome", "Oslo"]
    is_sunny: bool


def weather(city: str, days: int) -> str:
    """Tells the weather.

    Args:
      city: Where.
      days: How far ahead.
    """
    return f"{city} {days}: sunny"


def chats():
    whole = client.chat("told", HI, options=GREEDY)
    assert whole.done and whole.done_reason == "length" and whole.eval_count == 24 and whole.prompt_eval_count > 0
    assert whole.total_duration >= whole.eval_duration > 0 and whole.message.role == "assistant", whole
    parts = list(client.chat("told", HI, options=GREEDY, stream=True))
    assert "".join(part.message.content for part in parts) == whole.message.content != ""
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == 24
    told = client.generate("tiny", "Once upon a time", raw=True, options=GREEDY)
    streamed = client.generate("tiny", "Once upon a time", raw=True, options=GREEDY, stream=True)
    assert "".join(part.response for part in streamed) == told.response != ""
    more = client.generate("tiny", " and then", context=told.context, options=GREEDY)  # No template: the text as it is.
    assert more.prompt_eval_count and len(more.context) > len(told.context)
    likely = client.generate("tiny", "Once", raw=True, options=GREEDY, logprobs=True, top_logprobs=2).logprobs
    assert len(likely) == 24 and all(len(token.top_logprobs) == 2 for token in likely)


def embeddings():
    vectors = client.embed("embedder", ["Hello world", "A cat sits on the mat."])
    assert len(vectors.embeddings) == 2 and len(vectors.embeddings[0]) == 64 and vectors.prompt_eval_count > 4
    assert abs(sum(x * x for x in vectors.embeddings[0]) - 1) < 1e-5
    assert client.embed("embedder", "Hello world").embeddings[0] == vectors.embeddings[0]


def tools():
    messages = [{"role": "user", "content": "Weather in Rome?"}]
    answer = client.chat("agent", messages, tools=[weather])
    [call] = answer.message.tool_calls
    assert call.function.name == "weather" and dict(call.function.arguments) == {"city": "Rome", "days": 2}, call
    streamed = [part for part in client.chat("agent", messages, tools=[weather], stream=True) if part.message.tool_calls]
    assert streamed[0].message.tool_calls[0].function == call.function, streamed
    result = weather(**call.function.arguments)
    messages += [answer.message, {"role": "tool", "tool_name": "weather", "content": result}]
    told = client.chat("agent", messages, tools=[weather])
    assert told.message.content == "It is sunny in Rome." and told.done_reason == "stop", told


def structured():
    answer = client.chat("told", HI, format=Weather.model_json_schema(), options={"temperature": 0})
    Weather.model_validate_json(answer.message.content)
    assert client.chat("told", HI, format="json", options={"temperature": 0, "num_predict": 60}).message.content[0] in "{["


def errors():
    for status, call in (
        (404, lambda: client.chat("nobody", HI)),
        (404, lambda: list(client.chat("nobody", HI, stream=True))),
        (404, lambda: client.show("nobody")),
        (400, lambda: client.embed("tiny", "word " * 4000, truncate=False)),
        (400, lambda: client.chat("told", HI, format="yaml")),
        (400, lambda: client.chat("told", HI, options={"temperature": "warm"})),
    ):
        try:
            call()
        except ollama.ResponseError as error:
            assert error.status_code == status and error.error, error
        except pydantic.ValidationError:
            # What the client itself does not send.
            assert status == 400
        else:
            raise AssertionError(f"{status} expected")


async def left():
    many = ollama.AsyncClient(host=sys.argv[1])

    async def leave():
        async for part in await many.chat("endless", HI, stream=True):
            if part.message.content:
                return

    await asyncio.gather(*(leave() for _ in range(24)))
    answers = await asyncio.gather(*(many.chat("told", HI, options=GREEDY) for _ in range(8)))
    assert len({answer.message.content for answer in answers}) == 1


for part in (chats, embeddings, tools, structured, errors):
    part()
asyncio.run(left())
