//! Bodies of fuzz targets: see `fuzz/README.md`.

use crate::{
    anthropic::stream::AnthropicDecoder,
    chat::{Decoder, Reported},
    openai::stream::OpenAiDecoder,
    responses::stream::ResponsesDecoder,
    sse::SseParser,
};
use goclaw_ports::llm::{ChatEvent, ChatResponse};
use std::collections::VecDeque;

/// How much of the input says where the stream is cut.
const CUTS: usize = 8;

/// Reads a stream of a provider in each dialect. The first bytes say where the network cuts it.
///
/// # Panics
/// If it matters where it is cut.
pub fn streams(bytes: &[u8]) {
    let (cuts, stream) = bytes.split_at(CUTS.min(bytes.len()));
    let dialects: [fn() -> Box<dyn Decoder>; 3] =
        [|| Box::new(AnthropicDecoder::default()), || Box::new(OpenAiDecoder::default()), || Box::new(ResponsesDecoder::default())];
    for dialect in dialects {
        let whole = read(&mut *dialect(), [stream]);
        assert_eq!(read(&mut *dialect(), pieces(cuts, stream)), whole);
    }
}

/// What a stream says: its pieces, what it reported, and the answer if the connection ends now.
type Said = (Vec<ChatEvent>, Result<(), Reported>, Option<ChatResponse>);

/// Reads as [`crate::chat`] does.
fn read<'a>(decoder: &mut dyn Decoder, pieces: impl IntoIterator<Item = &'a [u8]>) -> Said {
    let (mut parser, mut out, mut reported) = (SseParser::default(), VecDeque::new(), Ok(()));
    let mut take = |data: &[u8]| {
        if reported.is_ok() && !matches!(out.back(), Some(ChatEvent::Done(_))) {
            reported = decoder.event(data, &mut out);
        }
    };
    let parsed = pieces.into_iter().try_for_each(|piece| parser.push(piece, &mut take)).and_then(|()| parser.finish(&mut take));
    assert!(parsed.is_ok(), "nothing here is too long");
    let ended = matches!(out.back(), Some(ChatEvent::Done(_)));
    let answer = (reported.is_ok() && !ended).then(|| decoder.end()).flatten();
    (out.into(), reported, answer)
}

fn pieces<'a>(cuts: &[u8], stream: &'a [u8]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| stream.len() * usize::from(*cut) / 256).chain([0, stream.len()]).collect();
    at.sort_unstable();
    at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
}

#[cfg(test)]
#[path = "../../../fuzz/bounded.rs"]
mod bounded;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stream_is_read_the_same_however_it_is_cut() {
        bounded::run("streams", streams);
    }
}
