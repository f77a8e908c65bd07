//! What holds for every stored conversation.

use serde_json::Value;

/// Whether every tool call has its one result, after it, and there is no other result.
///
/// # Errors
/// What is wrong.
pub fn paired(messages: &[Value]) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let at = open.iter().position(|call| *call == id).ok_or_else(|| format!("a result without a call: {message}"))?;
            open.remove(at);
        } else {
            if !open.is_empty() {
                return Err(format!("calls without results before {message}: {open:?}"));
            }
            let calls = message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
            open.extend(calls.iter().map(|call| call["id"].as_str().unwrap_or_default()));
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("calls without results: {open:?}")) }
}
