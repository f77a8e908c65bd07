//! Answers of the Responses API.

use super::{
    Answer,
    answer::Fault,
    wire::{Piece, halves},
};
use serde_json::{Value, json};

fn record(value: &Value, gated: bool) -> Piece {
    let kind = value["type"].as_str().unwrap_or_default();
    Piece { bytes: format!("event: {kind}\ndata: {value}\n\n"), gated }
}

/// The answer as a stream, which is the only way this API is asked here. With a fault, it ends where the fault begins.
pub(super) fn stream(answer: &Answer) -> Vec<Piece> {
    let mut pieces = vec![record(&json!({"type": "response.created", "response": {"id": "resp_stub", "status": "in_progress", "usage": null}}), false)];
    let mut at = 0;
    if !answer.thinking.is_empty() {
        let item = json!({"id": "rs_stub", "type": "reasoning", "summary": [{"type": "summary_text", "text": answer.thinking}]});
        pieces.push(record(&json!({"type": "response.output_item.done", "output_index": at, "item": item}), false));
        at += 1;
    }
    let text = answer.pieces().into_iter().map(|text| json!({"type": "response.output_text.delta", "item_id": "msg_stub", "output_index": at, "delta": text}));
    pieces.extend(text.map(|delta| record(&delta, true)));
    match &answer.fault {
        Some(Fault::Error(message)) => {
            let error = json!({"code": "server_error", "message": message});
            pieces.push(record(&json!({"type": "response.failed", "response": {"status": "failed", "error": error}}), false));
            return pieces;
        }
        Some(_) => return pieces,
        None => {}
    }
    if !answer.text.is_empty() {
        let mut item = json!({"id": "msg_stub", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": answer.text}]});
        if !answer.phase.is_empty() {
            item["phase"] = json!(answer.phase);
        }
        pieces.push(record(&json!({"type": "response.output_item.done", "output_index": at, "item": item}), false));
        at += 1;
    }
    for tool in &answer.tools {
        let id = format!("fc_{}", tool.id);
        let item = |arguments: &str| json!({"id": id, "type": "function_call", "call_id": tool.id, "name": tool.name, "arguments": arguments});
        pieces.push(record(&json!({"type": "response.output_item.added", "output_index": at, "item": item("")}), false));
        for half in halves(&tool.arguments) {
            pieces.push(record(&json!({"type": "response.function_call_arguments.delta", "item_id": id, "output_index": at, "delta": half}), false));
        }
        pieces.push(record(&json!({"type": "response.output_item.done", "output_index": at, "item": item(&tool.arguments)}), false));
        at += 1;
    }
    let (kind, status) = if answer.finish_reason() == "length" { ("response.incomplete", "incomplete") } else { ("response.completed", "completed") };
    let usage = answer.usage.map(|(input, output)| json!({"input_tokens": input, "output_tokens": output, "total_tokens": input + output}));
    pieces.push(record(&json!({"type": kind, "response": {"id": "resp_stub", "status": status, "usage": usage}}), false));
    pieces
}
