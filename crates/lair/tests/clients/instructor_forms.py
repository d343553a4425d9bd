"""Instructor: answers as objects, in every mode that a local server can be asked in, whole, in parts and as lists."""

import sys
from typing import Literal

import instructor
from instructor.core import InstructorRetryException
import openai
import pydantic

HI = [{"role": "user", "content": "Weather?"}]
ASK = dict(model="forms", messages=HI, temperature=0, max_tokens=200, max_retries=0)


class Weather(pydantic.BaseModel):
    """The weather somewhere."""

    city: Literal["Rome", "Oslo"]
    days: Literal[1, 2, 3]
    is_sunny: bool


def client(mode):
    return instructor.from_openai(openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0), mode=mode)


def objects():
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS_STRICT):
        answer, completion = client(mode).chat.completions.create_with_completion(response_model=Weather, **ASK)
        assert isinstance(answer, Weather), (mode, answer)
        assert completion.usage.completion_tokens > 0, (mode, completion)


def parts():
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
        ask = {key: value for key, value in ASK.items() if key != "max_retries"}
        parts = list(client(mode).chat.completions.create_partial(response_model=Weather, **ask))
        assert None not in parts[-1].model_dump().values(), (mode, parts[-1])
        # What was there stays as it was.
        told = [tuple(value for value in part.model_dump().values() if value is not None) for part in parts]
        assert len(set(told)) > 2 and all(len(a) <= len(b) for a, b in zip(told, told[1:])), (mode, told)


def errors():
    try:
        client(instructor.Mode.TOOLS).chat.completions.create(response_model=Weather, **{**ASK, "model": "nobody"})
    except (openai.NotFoundError, InstructorRetryException) as error:
        assert "nobody" in str(error), error
    else:
        raise AssertionError("an error is expected")


for part in (objects, parts, errors):
    part()
