//! How answers look on the wire of each protocol.

use super::{Answer, Request, answer::Fault, responses};
use serde_json::{Value, json};

/// A piece of a streamed answer.
pub(super) struct Piece {
    /// What is sent.
    pub bytes: String,
    /// Whether it waits for the answer's gate.
    pub gated: bool,
}

/// The whole answer as one JSON document.
pub(super) fn document(request: &Request, answer: &Answer) -> String {
    if request.is_anthropic() { anthropic_document(request, answer) } else { openai_document(request, answer) }.to_string()
}

/// The answer as a stream of server-sent events. With a fault, it ends where the fault begins.
pub(super) fn stream(request: &Request, answer: &Answer) -> Vec<Piece> {
    match request {
        request if request.is_responses() => responses::stream(answer),
        request if request.is_anthropic() => anthropic_stream(request, answer),
        request => openai_stream(request, answer),
    }
}

/// The models that the upstream offers.
pub(super) fn models(request: &Request) -> String {
    if request.is_anthropic() {
        json!({"data": [{"type": "model", "id": "claude-stub", "display_name": "Claude Stub", "created_at": "2026-01-01T00:00:00Z"}], "has_more": false})
    } else {
        json!({"object": "list", "data": [{"id": "stub", "object": "model"}, {"id": "stub-mini", "object": "model"}]})
    }
    .to_string()
}

fn parsed(arguments: &str) -> Value {
    serde_json::from_str(arguments).unwrap_or_else(|_| json!({}))
}

fn openai_usage(answer: &Answer) -> Option<Value> {
    answer.usage.map(|(input, output)| json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output}))
}

fn openai_document(request: &Request, answer: &Answer) -> Value {
    let mut message = json!({"role": "assistant", "content": answer.text});
    if !answer.thinking.is_empty() {
        message["reasoning_content"] = json!(answer.thinking);
    }
    if !answer.tools.is_empty() {
        let calls = answer.tools.iter().map(|tool| json!({"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": tool.arguments}}));
        message["tool_calls"] = calls.collect();
    }
    let choice = json!({"index": 0, "message": message, "finish_reason": answer.finish_reason()});
    let mut document = json!({"id": "chatcmpl-stub", "object": "chat.completion", "created": 1, "model": request.body["model"], "choices": [choice]});
    if let Some(usage) = openai_usage(answer) {
        document["usage"] = usage;
    }
    document
}

fn openai_stream(request: &Request, answer: &Answer) -> Vec<Piece> {
    let model = &request.body["model"];
    let chunk = |choices: Value| json!({"id": "chatcmpl-stub", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices});
    let delta = |delta: Value| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]));
    let record = |value: Value, gated| Piece { bytes: format!("data: {value}\n\n"), gated };

    let mut pieces = vec![record(delta(json!({"role": "assistant", "content": ""})), false)];
    if !answer.thinking.is_empty() {
        pieces.push(record(delta(json!({"reasoning_content": answer.thinking})), false));
    }
    pieces.extend(answer.pieces().into_iter().map(|text| record(delta(json!({"content": text})), true)));
    match &answer.fault {
        Some(Fault::Error(message)) => {
            pieces.push(record(json!({"error": {"message": message, "type": "server_error"}}), false));
            return pieces;
        }
        Some(_) => return pieces,
        None => {}
    }
    for (index, tool) in answer.tools.iter().enumerate() {
        let opening = json!({"index": index, "id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": ""}});
        pieces.push(record(delta(json!({"tool_calls": [opening]})), false));
        for half in halves(&tool.arguments) {
            pieces.push(record(delta(json!({"tool_calls": [{"index": index, "function": {"arguments": half}}]})), false));
        }
    }
    pieces.push(record(chunk(json!([{"index": 0, "delta": {}, "finish_reason": answer.finish_reason()}])), false));
    if let Some(usage) = openai_usage(answer).filter(|_| request.body["stream_options"]["include_usage"] == true) {
        let mut last = chunk(json!([]));
        last["usage"] = usage;
        pieces.push(record(last, false));
    }
    pieces.push(Piece { bytes: "data: [DONE]\n\n".to_owned(), gated: false });
    pieces
}

fn anthropic_stop_reason(answer: &Answer) -> &str {
    match answer.finish_reason() {
        "tool_calls" => "tool_use",
        "length" => "max_tokens",
        _ => "end_turn",
    }
}

fn anthropic_document(request: &Request, answer: &Answer) -> Value {
    let mut content = Vec::new();
    if !answer.thinking.is_empty() {
        content.push(json!({"type": "thinking", "thinking": answer.thinking, "signature": "stub-signature"}));
    }
    if !answer.text.is_empty() {
        content.push(json!({"type": "text", "text": answer.text}));
    }
    content.extend(answer.tools.iter().map(|tool| json!({"type": "tool_use", "id": tool.id, "name": tool.name, "input": parsed(&tool.arguments)})));
    let (input, output) = answer.usage.unwrap_or_default();
    json!({
        "id": "msg_stub", "type": "message", "role": "assistant", "model": request.body["model"], "content": content,
        "stop_reason": anthropic_stop_reason(answer), "stop_sequence": null, "usage": {"input_tokens": input, "output_tokens": output}
    })
}

fn anthropic_stream(request: &Request, answer: &Answer) -> Vec<Piece> {
    let record = |value: Value, gated| Piece { bytes: format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or_default()), gated };
    let (input, output) = answer.usage.unwrap_or_default();
    let message = json!({
        "id": "msg_stub", "type": "message", "role": "assistant", "model": request.body["model"], "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": input, "output_tokens": 1}
    });
    let mut pieces = vec![record(json!({"type": "message_start", "message": message}), false), record(json!({"type": "ping"}), false)];
    let mut index = 0;
    let mut block = |pieces: &mut Vec<Piece>, start: Value, deltas: Vec<(Value, bool)>| {
        pieces.push(record(json!({"type": "content_block_start", "index": index, "content_block": start}), false));
        pieces.extend(deltas.into_iter().map(|(delta, gated)| record(json!({"type": "content_block_delta", "index": index, "delta": delta}), gated)));
        pieces.push(record(json!({"type": "content_block_stop", "index": index}), false));
        index += 1;
    };
    if !answer.thinking.is_empty() {
        let deltas = vec![
            (json!({"type": "thinking_delta", "thinking": answer.thinking}), false),
            (json!({"type": "signature_delta", "signature": "stub-signature"}), false),
        ];
        block(&mut pieces, json!({"type": "thinking", "thinking": "", "signature": ""}), deltas);
    }
    if !answer.text.is_empty() {
        let deltas = answer.pieces().into_iter().map(|text| (json!({"type": "text_delta", "text": text}), true)).collect();
        block(&mut pieces, json!({"type": "text", "text": ""}), deltas);
    }
    match &answer.fault {
        Some(Fault::Error(message)) => {
            pieces.push(record(json!({"type": "error", "error": {"type": "overloaded_error", "message": message}}), false));
            return pieces;
        }
        Some(_) => return pieces,
        None => {}
    }
    for tool in &answer.tools {
        let deltas = halves(&tool.arguments).into_iter().map(|half| (json!({"type": "input_json_delta", "partial_json": half}), false)).collect();
        block(&mut pieces, json!({"type": "tool_use", "id": tool.id, "name": tool.name, "input": {}}), deltas);
    }
    let delta = json!({"stop_reason": anthropic_stop_reason(answer), "stop_sequence": null});
    pieces.push(record(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": output}}), false));
    pieces.push(record(json!({"type": "message_stop"}), false));
    pieces
}

pub(super) fn halves(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(chars.len().div_ceil(2).max(1)).map(|half| half.iter().collect()).collect()
}
