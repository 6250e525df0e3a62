#!/usr/bin/python3
"""Answers agents' command lines in place of a language model, at 127.0.0.1:8123.

A prompt with <run>COMMAND</run> in it is answered by a call of the agent's tool for commands, and what
the tool has printed by itself. A prompt with <say>TEXT</say> in it is answered by the text. The rest of
what a model does is not what a sandbox is tried for. The wire formats are those of Anthropic's
messages, Gemini's contents, and OpenAI's responses and chat completions.
"""
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "prompt_tokens": 1, "completion_tokens": 1}


def events(value):
    """The prompts and the results of tools in a conversation, in their order."""
    if isinstance(value, str):
        yield from re.findall(r"<(run|say)>(.*?)</\1>", value, re.DOTALL)
    elif isinstance(value, dict) and (
            str(value.get("type")).endswith(("tool_result", "call_output")) or value.get("role") == "tool"
            or "functionResponse" in value):
        yield "result", json.dumps(value.get("functionResponse") or value.get("output") or value.get("content"))
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from events(part)


def tools(body):
    """Pairs of the name and the parameters of a tool."""
    for tool in body.get("tools") or []:
        for t in tool.get("functionDeclarations", [tool]):
            t = t.get("function", t)
            schema = t.get("input_schema") or t.get("parameters") or t.get("parametersJsonSchema") or {}
            yield t.get("name", t.get("type", "")), schema


def arguments(schema, command):
    """What a call of a tool needs, or None if the tool does not take commands."""
    properties = schema.get("properties", {})
    if not {"command", "cmd"} & set(properties):
        return None
    given = {}
    for name, of in properties.items():
        if name in ("command", "cmd"):
            given[name] = ["bash", "-c", command] if of.get("type") == "array" else command
        elif name in schema.get("required", []):
            given[name] = {"boolean": False, "integer": 60000, "number": 60000}.get(of.get("type"), "as told")
    return given


def answer(body):
    """Returns a text, or the name of a tool and its arguments."""
    said = list(events(body.get("messages") or body.get("input") or body.get("contents")))
    kind, text = said[-1] if said else ("say", "There is nothing to do.")
    if kind == "result":
        return "It printed: " + text, None
    if kind == "run":
        for name, schema in tools(body):
            given = arguments(schema, text)
            if given and re.search("bash|shell|exec|command|terminal", name, re.IGNORECASE):
                return name, given
        return "There is no tool to run it.", None
    return text, None


def anthropic(text, given, stream):
    block = {"type": "text", "text": text} if given is None else {
        "type": "tool_use", "id": "toolu_1", "name": text, "input": given}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [block],
               "stop_reason": "end_turn" if given is None else "tool_use", "stop_sequence": None, "usage": USAGE}
    if not stream:
        return [message]
    empty = {**block, "text": ""} if given is None else {**block, "input": {}}
    delta = {"type": "text_delta", "text": text} if given is None else {
        "type": "input_json_delta", "partial_json": json.dumps(given)}
    return [{"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": empty},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "usage": USAGE,
             "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None}},
            {"type": "message_stop"}]


def gemini(text, given, stream):
    part = {"text": text} if given is None else {"functionCall": {"name": text, "args": given}}
    return [{"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
             "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}}]


def responses(text, given, stream):
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}]} if given is None else {
        "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": text, "status": "completed",
        "arguments": json.dumps(given)}
    whole = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [item],
             "usage": {**USAGE, "input_tokens_details": {"cached_tokens": 0},
                       "output_tokens_details": {"reasoning_tokens": 0}}}
    if not stream:
        return [whole]
    return [{"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": whole}]


def chat(text, given, stream):
    said = {"role": "assistant", "content": text} if given is None else {
        "role": "assistant", "content": None, "tool_calls": [
            {"index": 0, "id": "call_1", "type": "function",
             "function": {"name": text, "arguments": json.dumps(given)}}]}
    whole = {"id": "chat_1", "object": "chat.completion.chunk" if stream else "chat.completion", "created": 1,
             "model": "m", "usage": USAGE}
    key = "delta" if stream else "message"
    end = "stop" if given is None else "tool_calls"
    if not stream:
        return [{**whole, "choices": [{"index": 0, key: said, "finish_reason": end}]}]
    return [{**whole, "choices": [{"index": 0, key: said, "finish_reason": None}]},
            {**whole, "choices": [{"index": 0, key: {}, "finish_reason": end}]}]


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send([{"object": "list", "data": [], "models": []}], False)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.split("?")[0]
        stream = body.get("stream", path.endswith(":streamGenerateContent"))
        for end, form in {"/messages": anthropic, "GenerateContent": gemini, "/responses": responses,
                          "/chat/completions": chat}.items():
            if path.lower().endswith(end.lower()):
                return self.send(form(*answer(body), stream), stream)
        return self.send([{"input_tokens": 1, "totalTokens": 1}], False)  # it is asked to count them

    def send(self, events, stream):
        if stream:
            data = "".join((f"event: {e['type']}\n" if "type" in e else "") + f"data: {json.dumps(e)}\n\n" for e in events)
            if self.path.endswith("/chat/completions"):
                data += "data: [DONE]\n\n"
        else:
            data = json.dumps(events[0])
        data = data.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if stream else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format, *args):
        print(format % args, file=sys.stderr)  # the session's log


ThreadingHTTPServer(("127.0.0.1", 8123), Model).serve_forever()
