//! Server-sent events, parsed as the bytes come.

use std::fmt;

/// The longest line that is accepted, in bytes.
pub(crate) const LINE_LIMIT: usize = 10 * 1024 * 1024;

/// A line, or an event of several lines, was longer than [`LINE_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an event of the stream is longer than {LINE_LIMIT} bytes")
    }
}

/// An incremental parser: bytes in, the data of each event out. Event names, ids and comments are dropped, since both dialects say in
/// the data what it is.
#[derive(Debug)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    limit: usize,
}

impl Default for SseParser {
    fn default() -> Self {
        Self { line: Vec::new(), data: Vec::new(), has_data: false, after_cr: false, limit: LINE_LIMIT }
    }
}

impl SseParser {
    /// Takes the next bytes and calls `event` with the data of every event that they complete.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut event: impl FnMut(&[u8])) -> Result<(), TooLong> {
        while let Some(first) = bytes.first() {
            // CRLF is one line end, also when the network puts its halves into different chunks.
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return self.keep(bytes);
            };
            let (head, tail) = bytes.split_at(end);
            self.after_cr = tail[0] == b'\r';
            bytes = &tail[1..];
            if self.line.is_empty() {
                if head.len() > self.limit {
                    return Err(TooLong);
                }
                self.line(head, &mut event)?;
            } else {
                self.keep(head)?;
                let line = std::mem::take(&mut self.line);
                self.line(&line, &mut event)?;
                self.line = line;
                self.line.clear();
            }
        }
        Ok(())
    }

    /// Ends the stream: an event that lacks only its blank line still counts.
    pub(crate) fn finish(&mut self, mut event: impl FnMut(&[u8])) -> Result<(), TooLong> {
        let line = std::mem::take(&mut self.line);
        self.line(&line, &mut event)?;
        self.dispatch(&mut event);
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > self.limit {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn line(&mut self, line: &[u8], event: &mut impl FnMut(&[u8])) -> Result<(), TooLong> {
        if line.is_empty() {
            self.dispatch(event);
            return Ok(());
        }
        let Some(value) = line.strip_prefix(b"data") else { return Ok(()) };
        let value = match value.split_first() {
            None => value,
            Some((b':', value)) => value.strip_prefix(b" ").unwrap_or(value),
            Some(_) => return Ok(()),
        };
        if self.data.len() + value.len() > self.limit {
            return Err(TooLong);
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value);
        Ok(())
    }

    fn dispatch(&mut self, event: &mut impl FnMut(&[u8])) {
        if std::mem::take(&mut self.has_data) {
            event(&self.data);
            self.data.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut parser = SseParser::default();
        let mut events = Vec::new();
        let mut take = |data: &[u8]| events.push(String::from_utf8(data.to_vec()).unwrap());
        for chunk in chunks {
            parser.push(chunk, &mut take).unwrap();
        }
        parser.finish(&mut take).unwrap();
        events
    }

    #[test]
    fn data_is_read_in_every_spelling() {
        let text = ": comment\nevent: x\nid: 7\ndata: one\n\ndata:two\r\n\r\ndata: three\rdata\rdata:  four\r\rretry: 5\n\ndatabase: no\n\ndata: end";
        assert_eq!(parse([text.as_bytes()]), ["one", "two", "three\n\n four", "end"]);
    }

    #[test]
    fn a_line_over_the_limit_is_an_error() {
        let mut parser = SseParser { limit: 16, ..SseParser::default() };
        assert_eq!(parser.push(b"data: 0123456789\n", |_| ()), Ok(()));
        assert_eq!(parser.push(b"data: 0123456789012345\n", |_| ()), Err(TooLong));
        let mut parser = SseParser { limit: 16, ..SseParser::default() };
        parser.push(b"data: 01234", |_| ()).unwrap();
        assert_eq!(parser.push(b"567890123", |_| ()), Err(TooLong));
        let mut parser = SseParser { limit: 16, ..SseParser::default() };
        parser.push(b"data: 01234567\n", |_| ()).unwrap();
        assert_eq!(parser.push(b"data: 0123456789\n", |_| ()), Err(TooLong));
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_events(
            lines in proptest::collection::vec("(data: ?[a-zä€😀]{0,6}|: c|event: e|)(\n|\r|\r\n)", 0..20),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let bytes = lines.concat().into_bytes();
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
            at.sort_unstable();
            let chunks = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            prop_assert_eq!(parse(chunks), parse([bytes.as_slice()]));
        }
    }
}
