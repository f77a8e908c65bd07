//! However the network cuts a stream, it says the same.

use crate::{
    anthropic::AnthropicDecoder,
    chat::{Decoder, Reported},
    openai::OpenAiDecoder,
    sse::SseParser,
};
use goclaw_ports::llm::ChatEvent;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::VecDeque;

const TEXT: &str = "[a-zä€😀\"\\\\{} \n]{0,8}";

/// What a stream that comes in these pieces says: all that was told, and how it ended.
fn decoded<'a>(mut decoder: impl Decoder, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<ChatEvent>, Result<(), Reported>) {
    let (mut parser, mut out) = (SseParser::default(), VecDeque::new());
    let mut outcome = Ok(());
    for piece in pieces {
        parser.push(piece, |data| outcome = outcome.clone().and_then(|()| decoder.event(data, &mut out))).unwrap();
    }
    (out.into(), outcome)
}

fn check<D: Decoder>(decoder: fn() -> D, events: &[Value], cuts: &[prop::sample::Index]) -> Result<(), TestCaseError> {
    let bytes: String = events
        .iter()
        .map(|event| if let Value::String(raw) = event { format!("data: {raw}\r\n\r\n") } else { format!("event: x\ndata: {event}\n\n") })
        .collect();
    let bytes = bytes.as_bytes();
    let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
    at.sort_unstable();
    let whole = decoded(decoder(), [bytes]);
    prop_assert_eq!(&decoded(decoder(), at.windows(2).map(|pair| &bytes[pair[0]..pair[1]])), &whole);
    prop_assert_eq!(&decoded(decoder(), bytes.chunks(1)), &whole);
    // The pieces together are the answer.
    if let (events, Ok(())) = whole
        && let Some((ChatEvent::Done(answer), pieces)) = events.split_last()
    {
        let of = |wanted: fn(&ChatEvent) -> Option<&str>| pieces.iter().filter_map(wanted).collect::<String>();
        prop_assert_eq!(&answer.content, &of(|event| if let ChatEvent::Text(text) = event { Some(text) } else { None }));
        prop_assert_eq!(&answer.thinking, &of(|event| if let ChatEvent::Thinking(text) = event { Some(text) } else { None }));
    }
    Ok(())
}

fn openai_events() -> impl Strategy<Value = Vec<Value>> {
    let delta = |delta: Value| json!({"choices": [{"delta": delta}]});
    let index = prop::option::of(0_u64..4);
    let event = prop_oneof![
        TEXT.prop_map(move |text| delta(json!({"content": text}))),
        TEXT.prop_map(move |text| delta(json!({"reasoning_content": text}))),
        (index, TEXT, prop::option::of(TEXT)).prop_map(move |(index, arguments, id)| {
            let name = id.as_ref().map(|_| "weather");
            delta(json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}))
        }),
        TEXT.prop_map(|message| json!({"error": {"message": message, "code": 500}})),
        TEXT.prop_map(|text| json!(format!("not json {}", text.replace('\n', " ")))),
        Just(json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}})),
    ];
    prop::collection::vec(event, 0..10).prop_map(|events| {
        let end = [json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}), json!("[DONE]")];
        events.into_iter().chain(end).collect()
    })
}

fn anthropic_events() -> impl Strategy<Value = Vec<Value>> {
    let block = prop_oneof![
        Just(json!({"type": "text", "text": ""})),
        Just(json!({"type": "thinking", "thinking": "", "signature": ""})),
        Just(json!({"type": "redacted_thinking", "data": "b3BhcXVl"})),
        Just(json!({"type": "tool_use", "id": "t", "name": "weather", "input": {}})),
    ];
    let piece = |text: String, kind: &str| match kind {
        "thinking" => json!({"type": "thinking_delta", "thinking": text}),
        "tool_use" => json!({"type": "input_json_delta", "partial_json": text}),
        _ => json!({"type": "text_delta", "text": text}),
    };
    let blocks = prop::collection::vec((block, prop::collection::vec(TEXT, 0..4)), 0..5);
    let odd = prop_oneof![
        4 => Just(None),
        1 => TEXT.prop_map(|message| Some(json!({"type": "error", "error": {"type": "overloaded_error", "message": message}}))),
        1 => TEXT.prop_map(|text| Some(json!({"type": text}))),
    ];
    (blocks, odd).prop_map(move |(blocks, odd)| {
        let mut events = vec![json!({"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}}), json!({"type": "ping"})];
        for (at, (block, texts)) in blocks.into_iter().enumerate() {
            let kind = block["type"].as_str().unwrap().to_owned();
            events.push(json!({"type": "content_block_start", "index": at, "content_block": block}));
            if kind != "redacted_thinking" {
                events.extend(texts.into_iter().map(|text| json!({"type": "content_block_delta", "index": at, "delta": piece(text, &kind)})));
            }
            events.push(json!({"type": "content_block_stop", "index": at}));
        }
        events.extend(odd);
        events.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}}));
        events.push(json!({"type": "message_stop"}));
        events
    })
}

proptest! {
    #[test]
    fn any_split_of_an_openai_stream_says_the_same(events in openai_events(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        check(OpenAiDecoder::default, &events, &cuts)?;
    }

    #[test]
    fn any_split_of_an_anthropic_stream_says_the_same(events in anthropic_events(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        check(AnthropicDecoder::default, &events, &cuts)?;
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), json in "\\PC{0,80}") {
        let mut out = VecDeque::new();
        for data in [bytes.as_slice(), json.as_bytes()] {
            let _ = OpenAiDecoder::default().event(data, &mut out);
            let _ = AnthropicDecoder::default().event(data, &mut out);
        }
    }
}
