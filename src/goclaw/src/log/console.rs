//! Lines on standard error.

use super::fields::{Fields, one_line};
use serde_json::{Map, Value};
use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// The message, then `name=value`.
pub struct RedactedFields;

impl<'w> FormatFields<'w> for RedactedFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let fields = Fields::of(fields);
        let (italic, dim, plain) = if writer.has_ansi_escapes() { ("\x1b[3m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        writer.write_str(&one_line(&fields.message))?;
        let mut space = if fields.message.is_empty() { "" } else { " " };
        for field in &fields.values {
            write!(writer, "{space}{italic}{}{plain}{dim}={plain}", field.name)?;
            match &field.value {
                Value::String(text) if field.quoted => write!(writer, "{text:?}")?,
                Value::String(text) => writer.write_str(&one_line(text))?,
                value => write!(writer, "{value}")?,
            }
            space = " ";
        }
        Ok(())
    }
}

/// One JSON object per line: `timestamp`, `level`, `target`, `message`, and whatever else the event says.
pub struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let fields = Fields::of(event);
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let target = fields.target.as_deref().unwrap_or_else(|| event.metadata().target());
        let mut line = Map::new();
        let head = [("timestamp", timestamp.as_str()), ("level", event.metadata().level().as_str()), ("target", target), ("message", &fields.message)];
        for (name, text) in head {
            line.insert(name.to_owned(), text.into());
        }
        for field in fields.values {
            line.entry(field.name).or_insert(field.value);
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io,
        sync::{Arc, Mutex},
    };
    use tracing_subscriber::{fmt, prelude::*};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(json: bool, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let layer = fmt::layer().with_writer(move || writer.clone()).fmt_fields(RedactedFields);
        let layer = if json { layer.event_format(JsonLines).boxed() } else { layer.with_target(false).with_ansi(false).boxed() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_for_people_hold_no_secret() {
        let line = written(false, || {
            let error = "cannot reach postgres://u:hunter2@h/db\nINFO forged";
            tracing::warn!(status = 401, api_key = "abc", name = "two words", %error, "the key goclaw_{} was refused", "0".repeat(32));
        });
        assert!(
            line.trim_end()
                .ends_with(r#" WARN the key [REDACTED] was refused status=401 api_key=*** name="two words" error=cannot reach [REDACTED]\nINFO forged"#),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn json_lines_keep_numbers_and_hold_no_secret() {
        let line = written(true, || tracing::info!(status = 200, ok = true, token = "abc", level = "mine", "done: password=hunter2hunter2"));
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["status"], &line["ok"], &line["token"]), (&200.into(), &true.into(), &"***".into()));
        assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"done: [REDACTED]".into()));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z') && line["target"].is_string());
    }
}
