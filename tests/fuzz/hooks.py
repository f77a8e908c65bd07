"""Lets schemathesis ask for things that exist: names that it makes up meet nothing but "not found"."""

import json
import os
import zlib

import schemathesis

# Names by place: the path up to a parameter, as in {"/v1/agents/{id}": ["0193…", "fox"]}.
KNOWN = json.loads(os.environ.get("FUZZ_KNOWN_NAMES", "{}"))
# One request in so many that would remove something removes what others still ask for.
REMOVALS = 16
# Where the models of all providers are.
MODELS = os.environ.get("FUZZ_MODELS", "")


@schemathesis.hook
def before_call(context, case, kwargs):
    # A provider whose address is left out would be the real one.
    if isinstance(case.body, dict) and case.operation.path.startswith(("/v1/providers", "/v1/auth")):
        address = case.body.get("api_base", "")
        if not address or isinstance(address, str) and "://" in address:
            case.body["api_base"] = MODELS
    for name, value in (case.path_parameters or {}).items():
        parameter = "{" + name + "}"
        known = KNOWN.get(case.operation.path.partition(parameter)[0] + parameter)
        # What is put in depends on what was made up, so that a run with the same seed is the same run.
        chance = zlib.crc32(f"{case.operation.label} {value!r}".encode("utf-8", "surrogatepass"))
        if known and chance % (REMOVALS if case.method == "DELETE" else 2) == 0:
            case.path_parameters[name] = known[chance // REMOVALS % len(known)]


@schemathesis.hook
def filter_failure(context, failure, case, response):
    # Models that do not answer are no fault of the gateway's.
    return not (response.status_code == 500 and b"the model's provider failed" in response.content)


@schemathesis.hook
def before_load_schema(context, raw_schema):
    # The document says of an event stream what the data of one event is; schemathesis wants to know what an event is.
    for item in raw_schema["paths"].values():
        for operation in item.values():
            for response in operation["responses"].values():
                for media, content in response.get("content", {}).items():
                    if media == "text/event-stream":
                        data = {"type": "string", "contentMediaType": "application/json", "contentSchema": content["schema"]}
                        end = {"type": "string", "enum": ["[DONE]"]}
                        content["schema"] = {"type": "object", "required": ["data"], "properties": {"data": {"anyOf": [end, data]}}}
