//! Lines of a program's output, of which none is longer than fits into memory.

use std::io;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// The longest line, in bytes.
pub const LONGEST: usize = 16 << 20;

/// Reads a line into `line`, without its end. `false` at the end of the output; what stood there without a line's end counts as
/// one. May be dropped and called again: what was read of a line stays in `line`, which must then be handed in again.
///
/// # Errors
/// If the output cannot be read, or the line is longer than [`LONGEST`].
pub async fn next(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let bytes = reader.fill_buf().await?;
        if bytes.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(bytes.len());
        if line.len() + taken > LONGEST {
            return Err(io::Error::other(format!("a line is longer than {LONGEST} bytes")));
        }
        line.extend_from_slice(&bytes[..taken]);
        reader.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_one_by_one_and_the_last_needs_no_end() {
        let mut reader = &b"one\n\ntwo"[..];
        let mut lines = Vec::new();
        let mut line = Vec::new();
        while next(&mut reader, &mut line).await.unwrap() {
            lines.push(String::from_utf8(std::mem::take(&mut line)).unwrap());
        }
        assert_eq!(lines, ["one", "", "two"]);
    }

    #[tokio::test]
    async fn an_endless_line_is_refused() {
        let endless = vec![b'x'; LONGEST + 1];
        assert!(next(&mut endless.as_slice(), &mut Vec::new()).await.is_err());
    }
}
