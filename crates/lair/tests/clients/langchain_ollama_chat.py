"""LangChain over Ollama's API: messages, streams, tools in a loop, structured answers, embeddings, errors."""

import asyncio
import sys
from typing import Literal

import ollama
import pydantic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM

HI = [HumanMessage("Once upon a time")]
SERVER = dict(base_url=sys.argv[1])
told = ChatOllama(model="told", temperature=0, num_predict=24, validate_model_on_init=True, **SERVER)


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
    assert whole.response_metadata["done_reason"] == "length", whole
    assert "".join(chunk.content for chunk in told.stream(HI)) == whole.content
    assert [answer.content for answer in told.batch([HI, HI])] == [whole.content] * 2
    # A model without a template goes on from the text.
    plain = OllamaLLM(model="tiny", temperature=0, num_predict=16, **SERVER)
    assert plain.invoke("Once upon a time") == "".join(plain.stream("Once upon a time")) != ""


def tools():
    agent = ChatOllama(model="agent", **SERVER).bind_tools([weather])
    messages = [HumanMessage("Weather in Rome?")]
    answer = agent.invoke(messages)
    [call] = answer.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Rome", "days": 2}), answer
    messages += [answer, ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])]
    assert agent.invoke(messages).content == "It is sunny in Rome."


def structured():
    model = ChatOllama(model="forms", temperature=0, num_predict=200, **SERVER)
    answer = model.with_structured_output(Weather, method="json_schema").invoke(HI)
    assert isinstance(answer, Weather), answer


def embeddings():
    model = OllamaEmbeddings(model="embedder", **SERVER)
    one, other = model.embed_documents(["Hello world", "A cat sits on the mat."])
    assert len(one) == len(other) == 64 and one != other and model.embed_query("Hello world") == one


def errors():
    for status, model in ((404, "nobody"), (400, "embedder")):
        try:
            ChatOllama(model=model, **SERVER).invoke(HI)
        except ollama.ResponseError as error:
            assert error.status_code == status, error
        else:
            raise AssertionError(f"{status} expected")


async def left():
    async def leave():
        async for chunk in ChatOllama(model="endless", **SERVER).astream(HI):
            if chunk.content:
                return

    await asyncio.gather(*(leave() for _ in range(8)))
    answers = await asyncio.gather(*(told.ainvoke(HI) for _ in range(4)))
    assert len({answer.content for answer in answers}) == 1


for part in (chats, tools, structured, embeddings, errors):
    part()
asyncio.run(left())
