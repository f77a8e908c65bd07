//! `read_file`.

use super::{MAX_FILE, WorkspaceFiles, refusal};
use crate::{
    arguments::{Arguments, Refusal},
    confine::Access,
};
use async_trait::async_trait;
use goclaw_ports::{
    JsonObject,
    tools::{Tool, ToolContext, ToolEffect, ToolResult, ToolSpec},
};
use serde_json::json;
use std::path::Path;

/// Most characters of an answer.
const MAX_CHARS: usize = 50_000;
/// Bytes at the start of a file that are searched for a NUL, which no text holds.
const SNIFFED: usize = 8 << 10;

const IMAGES: &[&str] = &["jpg", "jpeg", "png", "gif", "webp", "bmp", "ico", "tiff", "tif"];
const SOUNDS: &[&str] = &["mp3", "wav", "ogg", "flac", "aac", "m4a"];
const VIDEOS: &[&str] = &["mp4", "avi", "mov", "mkv", "webm"];
const DOCUMENTS: &[&str] = &["pdf", "docx", "xlsx", "pptx"];
const ARCHIVES: &[&str] = &["zip", "tar", "gz", "bz2", "7z", "rar"];
const PROGRAMS: &[&str] = &["exe", "dll", "so", "dylib"];

/// Reads a text file or a range of its lines.
pub struct ReadFile {
    spec: ToolSpec,
    files: WorkspaceFiles,
}

impl ReadFile {
    pub fn new(files: WorkspaceFiles) -> Self {
        let spec = ToolSpec {
            name: "read_file",
            description: "Read a text file of the workspace, whole or a range of lines.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "File to read, relative to the workspace or absolute inside it."},
                    "offset": {"type": "integer", "description": "First line to read, counted from 0."},
                    "limit": {"type": "integer", "description": "Most lines to read."},
                },
                "required": ["path"],
            }),
            effect: ToolEffect::Reads,
        };
        Self { spec, files }
    }

    async fn read(&self, context: &ToolContext, arguments: &Arguments) -> Result<ToolResult, Refusal> {
        let path = arguments.filled_text("path")?;
        let (offset, limit) = (arguments.integer("offset")?, arguments.integer("limit")?);
        let text = match self.files.virtual_files.read(context, &path).await {
            Some(read) => read.map_err(Refusal::new)?,
            None => {
                if let Some(refusal) = not_text(&path) {
                    return Err(refusal);
                }
                let wanted = path.clone();
                let bytes = self.files.on_disk(context, move |root| root.read(&wanted, Access::Read, MAX_FILE)).await.map_err(|error| refusal(&path, error))?;
                if bytes.iter().take(SNIFFED).any(|byte| *byte == 0) {
                    return Err(Refusal::new(format!("{path} is a binary file, not text; use exec with a program that understands its format")));
                }
                String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
            }
        };
        Ok(ToolResult::silent(excerpt(&text, offset, limit)))
    }
}

/// The refusal of a file whose extension says that it is no text.
fn not_text(path: &str) -> Option<Refusal> {
    let extension = Path::new(path).extension()?.to_str()?.to_ascii_lowercase();
    let is = |kinds: &[&str]| kinds.contains(&extension.as_str());
    let advice = if is(IMAGES) {
        "use the media tool read_image to look at it"
    } else if is(SOUNDS) {
        "use the media tool read_audio to listen to it"
    } else if is(VIDEOS) {
        "use the media tool read_video to watch it"
    } else if is(DOCUMENTS) {
        "use the media tool read_document to read it"
    } else if is(ARCHIVES) {
        "use exec to list or unpack it"
    } else if is(PROGRAMS) {
        "it is a compiled program"
    } else {
        return None;
    };
    Some(Refusal::new(format!("{path} is a binary file (.{extension}) and cannot be read as text; {advice}")))
}

/// Where `text` is cut so that at most `chars` characters are left.
fn cut(text: &str, chars: usize) -> Option<usize> {
    text.char_indices().nth(chars).map(|(at, _)| at)
}

/// The lines from `offset` on, at most `limit` lines and [`MAX_CHARS`] characters, and how to go on.
fn excerpt(text: &str, offset: Option<i64>, limit: Option<i64>) -> String {
    let natural = |number: i64| usize::try_from(number.max(0)).unwrap_or(usize::MAX);
    let limit = limit.filter(|limit| *limit > 0).map(natural);
    if offset.is_none() && limit.is_none() && cut(text, MAX_CHARS).is_none() {
        return if text.is_empty() { "(the file is empty)".into() } else { text.to_owned() };
    }
    let start = natural(offset.unwrap_or(0));
    let total = text.lines().count();
    if start >= total {
        return format!("(the file has {total} lines; offset {start} is past its end)");
    }
    let (mut shown, mut chars, mut end, mut broken) = (String::new(), 0, start, false);
    for line in text.lines().skip(start).take(limit.unwrap_or(usize::MAX)) {
        let length = line.chars().count() + 1;
        if chars + length > MAX_CHARS && end > start {
            break;
        }
        // The first line is shown in any case, as much of it as an answer may hold.
        let kept = cut(line, MAX_CHARS).unwrap_or(line.len());
        broken = kept < line.len();
        shown.push_str(&line[..kept]);
        shown.push('\n');
        chars += length;
        end += 1;
    }
    if broken {
        shown.push_str(&format!("\n[line {end} is cut after {MAX_CHARS} characters]"));
    }
    shown.push_str(&format!("\n[lines {}-{end} of {total}", start + 1));
    if end < total {
        shown.push_str(&format!("; continue with offset={end}"));
    }
    shown.push(']');
    shown
}

#[async_trait]
impl Tool for ReadFile {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, context: &ToolContext, arguments: JsonObject) -> ToolResult {
        self.read(context, &Arguments(arguments)).await.unwrap_or_else(ToolResult::from)
    }
}
