//! A reader of server-sent events.

use crate::within;
use futures_util::StreamExt;
use serde_json::Value;

/// An answer that comes as server-sent events. Dropping it closes the connection.
pub struct SseStream {
    /// The status code.
    pub status: u16,
    /// The content type.
    pub content_type: String,
    response: futures_util::stream::BoxStream<'static, Result<bytes::Bytes, reqwest::Error>>,
    buffer: Vec<u8>,
}

impl SseStream {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        Self { status: response.status().as_u16(), content_type, response: response.bytes_stream().boxed(), buffer: Vec::new() }
    }

    /// The data of the next event; `None` at the end.
    ///
    /// # Panics
    /// If the connection breaks before the end of the answer.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let event = String::from_utf8(event).expect("events are UTF-8");
                let data: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data:")).map(|data| data.strip_prefix(' ').unwrap_or(data)).collect();
                if data.is_empty() {
                    continue;
                }
                return Some(data.join("\n"));
            }
            match within("the next event of a stream", self.response.next()).await {
                Some(bytes) => self.buffer.extend_from_slice(&bytes.expect("the stream is not cut")),
                None => return None,
            }
        }
    }

    /// All remaining data to the end.
    pub async fn rest(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(data) = self.next().await {
            all.push(data);
        }
        all
    }

    /// The next event that carries a non-empty text delta of a chat completion.
    ///
    /// # Panics
    /// If the stream ends before.
    pub async fn next_text(&mut self) -> String {
        loop {
            let data = self.next().await.expect("more text");
            if let Some(text) = serde_json::from_str::<Value>(&data).ok().as_ref().and_then(delta_text) {
                return text;
            }
        }
    }
}

fn delta_text(record: &Value) -> Option<String> {
    record["choices"][0]["delta"]["content"].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The text that the records of a streamed chat completion add up to.
#[must_use]
pub fn joined_text(records: &[String]) -> String {
    records.iter().filter_map(|record| serde_json::from_str(record).ok()).filter_map(|record: Value| delta_text(&record)).collect()
}
