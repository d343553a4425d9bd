"""LangChain over OpenAI's API: messages, streams, tools in a loop, structured answers, embeddings, batches, errors."""

import asyncio
import sys
from typing import Literal

import openai
import pydantic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

SERVER = dict(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
HI = [HumanMessage("Once upon a time")]
told = ChatOpenAI(model="told", temperature=0, max_tokens=24, **SERVER)


class Weather(pydantic.BaseModel):
    """The weather somewhere."""

    city: Literal["Rome", "Oslo"]
    is_sunny: bool


@tool
def weather(city: str, days: int) -> str:
    """Tells the weather."""
    return f"{city} {days}: sunny"


def chats():
    whole = told.invoke(HI)
    assert whole.content and whole.usage_metadata["output_tokens"] == 24, whole
    assert whole.response_metadata["finish_reason"] == "length", whole
    chunks = list(told.stream(HI, stream_usage=True))
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    assert total.content == whole.content and total.usage_metadata["output_tokens"] == 24, total
    assert [answer.content for answer in told.batch([HI, HI, HI])] == [whole.content] * 3
    plain = OpenAI(model="tiny", temperature=0, max_tokens=16, **SERVER)
    assert plain.invoke("Once upon a time") == "".join(plain.stream("Once upon a time")) != ""
    over_responses = ChatOpenAI(model="told", temperature=0, max_tokens=24, use_responses_api=True, **SERVER)
    assert over_responses.invoke(HI).text == whole.text
    assert "".join(chunk.text for chunk in over_responses.stream(HI)) == whole.text


def tools():
    agent = ChatOpenAI(model="agent", **SERVER).bind_tools([weather])
    messages = [HumanMessage("Weather in Rome?")]
    answer = agent.invoke(messages)
    [call] = answer.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Rome", "days": 2}), answer
    streamed = None
    for chunk in agent.stream(messages):
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed.tool_calls[0]["args"] == call["args"], streamed
    messages += [answer, ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])]
    assert agent.invoke(messages).content == "It is sunny in Rome."


def structured():
    for method in ("json_schema", "function_calling"):
        model = ChatOpenAI(model="forms", temperature=0, max_tokens=200, **SERVER)
        answer = model.with_structured_output(Weather, method=method).invoke(HI)
        assert isinstance(answer, Weather), (method, answer)


def embeddings():
    # Texts as token ids of OpenAI's vocabulary are for OpenAI's models only.
    model = OpenAIEmbeddings(model="embedder", check_embedding_ctx_length=False, base_url=SERVER["base_url"], api_key="none")
    one, other = model.embed_documents(["Hello world", "A cat sits on the mat."])
    same = model.embed_query("Hello world")
    assert len(one) == len(other) == 64 and one != other
    assert all(abs(a - b) < 1e-6 for a, b in zip(one, same, strict=True))


def errors():
    for kind, model in ((openai.NotFoundError, "nobody"), (openai.BadRequestError, "embedder")):
        try:
            ChatOpenAI(model=model, **SERVER).invoke(HI)
        except kind:
            continue
        raise AssertionError(f"{kind.__name__} expected")


async def left():
    async def leave():
        async for chunk in ChatOpenAI(model="endless", **SERVER).astream(HI):
            if chunk.content:
                return

    await asyncio.gather(*(leave() for _ in range(8)))
    answers = await asyncio.gather(*(told.ainvoke(HI) for _ in range(4)))
    assert len({answer.content for answer in answers}) == 1


for part in (chats, tools, structured, embeddings, errors):
    part()
asyncio.run(left())
