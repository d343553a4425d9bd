"""LlamaIndex over both APIs: chats, streams, tools, structured answers, embeddings, an index that is asked."""

import sys
from typing import Literal

import ollama
import openai
import pydantic
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.ollama import OllamaEmbedding
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.ollama import Ollama
from llama_index.llms.openai_like import OpenAILike

HI = [ChatMessage(role="user", content="Once upon a time")]
URL = sys.argv[1]


class Weather(pydantic.BaseModel):
    """The weather somewhere."""

    city: Literal["Rome", "Oslo"]
    is_sunny: bool


def weather(city: str, days: int) -> str:
    """Tells the weather."""
    return f"{city} {days}: sunny"


def over_openai(model, length=24):
    return OpenAILike(model=model, api_base=URL + "/v1", api_key="none", temperature=0, max_tokens=length, max_retries=0,
                      is_chat_model=True, is_function_calling_model=True, context_window=4096)


def over_ollama(model, length=24):
    return Ollama(model=model, base_url=URL, temperature=0, context_window=512, is_function_calling_model=True,
                  additional_kwargs={"num_predict": length})


def chats():
    whole = over_openai("told").chat(HI).message.content
    assert whole == over_ollama("told").chat(HI).message.content != ""
    for model in (over_openai("told"), over_ollama("told")):
        assert "".join(chunk.delta or "" for chunk in model.stream_chat(HI)) == whole
    plain = OpenAILike(model="tiny", api_base=URL + "/v1", api_key="none", temperature=0, max_tokens=16, context_window=512)
    assert plain.complete("Once upon a time").text == list(plain.stream_complete("Once upon a time"))[-1].text != ""


def tools():
    told_weather = FunctionTool.from_defaults(weather)
    for model in (over_openai("agent", None), over_ollama("agent", -1)):
        answer = model.predict_and_call([told_weather], user_msg="Weather in Rome?")
        assert str(answer) == "Rome 2: sunny", answer
        asked = model.chat_with_tools([told_weather], user_msg="Weather in Rome?")
        [call] = model.get_tool_calls_from_response(asked)
        messages = [
            ChatMessage(role="user", content="Weather in Rome?"), asked.message,
            ChatMessage(role="tool", content="sunny", additional_kwargs={"tool_call_id": call.tool_id}),
        ]
        assert model.chat_with_tools([told_weather], chat_history=messages).message.content == "It is sunny in Rome."


def structured():
    for model in (over_openai("forms", 200), over_ollama("forms", 200)):
        answer = model.as_structured_llm(Weather).chat(HI).raw
        assert isinstance(answer, Weather), answer


def embeddings():
    one = OpenAILikeEmbedding(model_name="embedder", api_base=URL + "/v1", api_key="none")
    other = OllamaEmbedding(model_name="embedder", base_url=URL)
    texts = ["A cat sits on the mat.", "The weather is fine."]
    for a, b in zip(one.get_text_embedding_batch(texts), other.get_text_embedding_batch(texts), strict=True):
        assert len(a) == 64 and all(abs(x - y) < 1e-6 for x, y in zip(a, b, strict=True))
    index = VectorStoreIndex.from_documents([Document(text=text) for text in texts], embed_model=one)
    found = index.as_retriever(similarity_top_k=1).retrieve(texts[0])
    assert found[0].text == texts[0] and found[0].score > 0.99, found
    answer = index.as_query_engine(llm=over_openai("agent", None)).query(texts[0])
    assert str(answer) == "Hello from the script.", answer


def errors():
    for kind, model in ((openai.NotFoundError, over_openai("nobody")), (ollama.ResponseError, over_ollama("nobody"))):
        try:
            model.chat(HI)
        except kind:
            continue
        raise AssertionError(f"{kind.__name__} expected")


for part in (chats, tools, structured, embeddings, errors):
    part()
