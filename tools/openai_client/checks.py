# SPDX-License-Identifier: Apache-2.0
"""What OpenAI's client must get from `fastcache serve`. Started by ./run, in the client's environment."""
import json
import sys
import time

import openai

from server import KEY, Server

CAPITAL = [{"role": "user", "content": "Name the capital of France."}]
STORY = [{"role": "user", "content": "Tell me a long story about a fox."}]
PERSON = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
          "required": ["name", "age"], "additionalProperties": False}
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}},
                   "required": ["city"]}}}
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def chat(client, messages=None, **more):
    return client.chat.completions.create(**{"model": "", "messages": messages or CAPITAL, "max_tokens": 24,
                                             "temperature": 0, **more, "model": more.get("model", client.fc_model)})


def refused(call, kind, **expected):
    try:
        call()
    except kind as error:
        for name, value in expected.items():
            assert getattr(error, name) == value, f"{name} is {getattr(error, name)!r}, not {value!r}: {error}"
        return
    raise AssertionError(f"no {kind.__name__}")


@check
def models(client, server):
    listed = client.models.list().data
    assert [model.id for model in listed] == [client.fc_model]
    assert client.models.retrieve(client.fc_model).id == client.fc_model


@check
def plain_answer_and_usage(client, server):
    answer = chat(client)
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop" and answer.choices[0].message.role == "assistant"
    usage = answer.usage
    assert usage.prompt_tokens > 5 and usage.completion_tokens > 1
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@check
def streamed_answer_is_the_plain_one(client, server):
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    plain = chat(client)
    assert text == plain.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == plain.usage.completion_tokens


@check
def cached_tokens(client, server):
    long = [{"role": "user", "content": "Count the words. " + "one two three four " * 40}]
    chat(client, long, max_tokens=1)
    again = chat(client, long, max_tokens=1).usage
    assert again.prompt_tokens_details.cached_tokens > again.prompt_tokens // 2


@check
def logprobs(client, server):
    content = chat(client, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert len(content) > 1
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob
    assert content[0].token == content[0].top_logprobs[0].token, "greedy takes the likeliest"
    assert bytes(content[0].bytes).decode() == content[0].token


@check
def several_answers(client, server):
    choices = chat(client, STORY, n=3, temperature=1, seed=7).choices
    assert [choice.index for choice in choices] == [0, 1, 2]
    assert len({choice.message.content for choice in choices}) > 1


@check
def stop_string(client, server):
    choice = chat(client, stop=["Paris"]).choices[0]
    assert "Paris" not in choice.message.content and choice.finish_reason == "stop"


@check
def length(client, server):
    answer = chat(client, STORY, max_completion_tokens=5, max_tokens=openai.NOT_GIVEN)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 5


@check
def seed_repeats_an_answer(client, server):
    texts = [chat(client, STORY, temperature=1.0, seed=seed).choices[0].message.content for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@check
def json_object(client, server):
    answer = chat(client, [{"role": "user", "content": "Describe a fox as JSON."}], max_tokens=200,
                  response_format={"type": "json_object"}).choices[0]
    if answer.finish_reason == "stop":
        assert isinstance(json.loads(answer.message.content), dict)
    assert answer.message.content.lstrip().startswith("{")


@check
def json_schema(client, server):
    answer = chat(client, [{"role": "user", "content": "Invent a person."}], max_tokens=200, response_format={
        "type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": PERSON}}).choices[0]
    person = json.loads(answer.message.content)
    assert set(person) == {"name", "age"} and isinstance(person["age"], int)


@check
def tool_call(client, server):
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    choice = chat(client, messages, tools=[WEATHER], tool_choice="required", max_tokens=100).choices[0]
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0]
    assert call.id and call.type == "function" and call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)
    # The client answers the call, and the conversation goes on.
    messages += [choice.message.model_dump(exclude_none=True),
                 {"role": "tool", "tool_call_id": call.id, "content": "sunny, 20 degrees"}]
    assert chat(client, messages, tools=[WEATHER], tool_choice="none").choices[0].message.content


@check
def streamed_tool_call(client, server):
    name, arguments, reason = "", "", None
    for chunk in chat(client, [{"role": "user", "content": "What is the weather in Rome?"}], tools=[WEATHER],
                      tool_choice={"type": "function", "function": {"name": "get_weather"}}, max_tokens=100,
                      stream=True):
        for choice in chunk.choices:
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or []:
                assert call.index == 0
                name += call.function.name or ""
                arguments += call.function.arguments or ""
    assert name == "get_weather" and "city" in json.loads(arguments) and reason == "tool_calls"


@check
def completions_api(client, server):
    answer = client.completions.create(model=client.fc_model, prompt="The capital of France is", max_tokens=5,
                                       temperature=0, logprobs=2)
    assert "Paris" in answer.choices[0].text and len(answer.choices[0].logprobs.tokens) == 5
    streamed = client.completions.create(model=client.fc_model, prompt="The capital of France is", max_tokens=5,
                                         temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == answer.choices[0].text
    two = client.completions.create(model=client.fc_model, prompt=["One, two,", "Red, green,"], max_tokens=3)
    assert [choice.index for choice in two.choices] == [0, 1]


@check
def wrong_model(client, server):
    refused(lambda: chat(client, model="gpt-4"), openai.NotFoundError, status_code=404)


@check
def wrong_parameters(client, server):
    for wrong, param in (({"temperature": -1}, "temperature"), ({"top_p": 2}, "top_p"), ({"n": 0}, "n"),
                         ({"max_tokens": -5}, "max_tokens"), ({"stop": 5}, "stop"),
                         ({"logit_bias": {"x": 1}}, "logit_bias")):
        refused(lambda: chat(client, **wrong), openai.BadRequestError, status_code=400, param=param,
                type="invalid_request_error")
    refused(lambda: chat(client, [{"role": "user", "content": "a " * 100000}]), openai.BadRequestError)


@check
def keys(client, server):
    other = client.with_options(api_key="wrong")
    refused(lambda: other.models.list(), openai.AuthenticationError, status_code=401)
    refused(lambda: other.chat.completions.create(model=client.fc_model, messages=CAPITAL),
            openai.AuthenticationError, status_code=401)


@check
def compression(client, server):
    long = [{"role": "user", "content": "The fox lives in the green wood. " * 40 + "Where does the fox live?"}]
    for wish in ("knorm(ratio=0.5)", {"method": "knorm", "ratio": 0.5}):
        answer = chat(client, long, extra_body={"kv_compression": wish})
        assert answer.choices[0].message.content
        figures = answer.model_extra["fastcache"]
        assert 0.4 < figures["rows_after_compression"] / figures["rows_before_compression"] < 0.6
        assert answer.usage.prompt_tokens > 300, "compression leaves the prompt's length as it was"
    refused(lambda: chat(client, extra_body={"kv_compression": "nonsense(ratio=0.5)"}), openai.BadRequestError,
            param="kv_compression")
    refused(lambda: chat(client, extra_body={"kv_compression": {"method": "knorm", "ratio": 2}}),
            openai.BadRequestError)


def wait_until(condition, what: str) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, f"not within 30 s: {what}"
        time.sleep(0.02)


@check
def cancelled_stream_frees_its_pages(client, server):
    for _ in range(5):
        stream = chat(client, STORY, max_tokens=2000, stream=True)
        next(iter(stream))
        stream.close()
    wait_until(lambda: server.metric("fastcache:num_requests_running") == 0, "no request runs")
    wait_until(lambda: server.metric("fastcache:kv_cache_usage_perc") == 0, "the pool is empty")


def main() -> None:
    failed = 0
    with Server(sys.argv[1]) as server:
        client = openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=0, timeout=300)
        client.fc_model = client.models.list().data[0].id
        for function in CHECKS:
            start = time.monotonic()
            try:
                function(client, server)
                print(f"ok      {function.__name__} ({time.monotonic() - start:.1f} s)", flush=True)
            except Exception as error:  # every check has its say
                failed += 1
                print(f"FAILED  {function.__name__}: {type(error).__name__}: {error}", flush=True)
    if server.exit_code != 0:
        failed += 1
        print(f"FAILED  SIGTERM: the server left with {server.exit_code}")
    print(f"{len(CHECKS)} checks with openai {openai.__version__}, {failed} failed")
    sys.exit(1 if failed else 0)


main()
