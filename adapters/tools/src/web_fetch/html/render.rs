//! Writes the tree of a page as Markdown or plain text.

use super::hidden::is_hidden;
use html5ever::Attribute;
use markup5ever_rcdom::{Handle, NodeData};

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// With Markdown's marks.
    Markdown,
    /// Without any.
    Text,
}

/// Elements deeper than this are left out: writing goes as deep as the tree does.
const MAX_DEPTH: usize = 150;

const SKIPPED: &[&str] =
    &["head", "script", "style", "noscript", "svg", "template", "iframe", "select", "option", "button", "input", "form", "nav", "footer", "picture", "source"];
const SKIPPED_AS_TEXT: &[&str] = &["header", "aside"];
const APART: &[&str] = &["p", "section", "article", "main", "header", "aside", "figure", "details", "fieldset", "address", "hgroup"];
const LINES: &[&str] = &["div", "figcaption", "summary", "legend", "caption", "center", "body", "html", "dialog", "tr", "li", "dt", "dd", "search"];

/// What stands between two pieces of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Gap {
    #[default]
    None,
    Space,
    Line,
    Blank,
}

/// Text that grows. Gaps are written only between pieces, so it never begins or ends with one.
#[derive(Default)]
struct Out {
    text: String,
    /// The gap before the first piece.
    lead: Gap,
    /// The gap since the last piece.
    gap: Gap,
}

impl Out {
    fn gap(&mut self, gap: Gap) {
        self.gap = self.gap.max(gap);
    }

    /// Adds text as it is.
    fn raw(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let gap = std::mem::take(&mut self.gap);
        if self.text.is_empty() {
            self.lead = gap;
        } else {
            self.text.push_str(["", " ", "\n", "\n\n"][gap as usize]);
        }
        self.text.push_str(text);
    }

    /// Adds text with its runs of blanks as one.
    fn flowing(&mut self, text: &str) {
        let mut words = text.split(|c: char| c.is_ascii_whitespace()).peekable();
        while let Some(word) = words.next() {
            self.raw(word);
            if words.peek().is_some() {
                self.gap(Gap::Space);
            }
        }
    }

    /// Adds what was written apart, between marks.
    fn marked(&mut self, before: &str, inner: &Out, after: &str) {
        self.gap(inner.lead);
        if !inner.text.is_empty() {
            self.raw(&format!("{before}{}{after}", inner.text));
        }
        self.gap(inner.gap);
    }

    fn block(&mut self, text: &str) {
        self.gap(Gap::Blank);
        self.raw(text);
        self.gap(Gap::Blank);
    }
}

/// The readable text below `document`.
pub fn render(document: &Handle, mode: Mode) -> String {
    let mut out = Out::default();
    Writer { mode, in_link: false }.children(document, &mut out, 0);
    out.text
}

#[derive(Clone, Copy)]
struct Writer {
    mode: Mode,
    in_link: bool,
}

fn attribute<'a>(attributes: &'a [Attribute], name: &str) -> &'a str {
    attributes.iter().find(|attribute| &*attribute.name.local == name).map_or("", |attribute| &*attribute.value)
}

/// A link's target as it can stand in Markdown; `None` if it is none that leads anywhere.
fn target(url: &str) -> Option<String> {
    let url: String = url.trim().chars().filter(|c| !c.is_control()).collect();
    let scheme = url.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let leads = !url.is_empty() && !["javascript", "vbscript", "data"].contains(&scheme.trim());
    leads.then(|| url.replace(' ', "%20").replace('(', "%28").replace(')', "%29"))
}

fn name(node: &Handle) -> Option<&str> {
    match &node.data {
        NodeData::Element { name, .. } => Some(&*name.local),
        _ => None,
    }
}

impl Writer {
    fn markdown(self) -> bool {
        self.mode == Mode::Markdown
    }

    fn skips(self, node: &Handle) -> bool {
        let NodeData::Element { name, attrs, .. } = &node.data else { return false };
        SKIPPED.contains(&&*name.local) || (!self.markdown() && SKIPPED_AS_TEXT.contains(&&*name.local)) || is_hidden(&attrs.borrow())
    }

    fn children(self, node: &Handle, out: &mut Out, depth: usize) {
        if depth < MAX_DEPTH {
            for child in node.children.borrow().iter() {
                self.node(child, out, depth + 1);
            }
        }
    }

    fn apart(self, node: &Handle, depth: usize) -> Out {
        let mut out = Out::default();
        self.children(node, &mut out, depth);
        out
    }

    fn node(self, node: &Handle, out: &mut Out, depth: usize) {
        match &node.data {
            NodeData::Text { contents } => out.flowing(&contents.borrow()),
            NodeData::Element { name, attrs, .. } if !self.skips(node) => self.element(&name.local, &attrs.borrow(), node, out, depth),
            _ => {}
        }
    }

    fn element(self, tag: &str, attributes: &[Attribute], node: &Handle, out: &mut Out, depth: usize) {
        match tag {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                let inner = self.apart(node, depth).text.replace('\n', " ");
                let level = usize::from(tag.as_bytes()[1] - b'0');
                let marks = if self.markdown() && !inner.is_empty() { format!("{} ", "#".repeat(level)) } else { String::new() };
                out.block(&format!("{marks}{inner}"));
            }
            "strong" | "b" if self.markdown() => out.marked("**", &self.apart(node, depth), "**"),
            "em" | "i" if self.markdown() => out.marked("*", &self.apart(node, depth), "*"),
            "code" | "kbd" | "samp" | "tt" if self.markdown() => out.marked("`", &self.apart(node, depth), "`"),
            "a" => self.link(attributes, node, out, depth),
            "img" => self.image(attributes, out),
            "br" => out.gap(Gap::Line),
            "hr" if self.markdown() => out.block("---"),
            "hr" => out.gap(Gap::Blank),
            "pre" => self.preformatted(attributes, node, out, depth),
            "blockquote" => {
                let inner = self.apart(node, depth).text;
                let quoted: Vec<_> = inner.lines().map(|line| format!("> {line}").trim_end().to_owned()).collect();
                out.block(&if self.markdown() { quoted.join("\n") } else { inner });
            }
            "ul" | "menu" | "ol" => self.list(tag == "ol", attributes, node, out, depth),
            "table" => self.table(node, out, depth),
            "dl" => {
                out.gap(Gap::Blank);
                self.children(node, out, depth);
                out.gap(Gap::Blank);
            }
            "dt" | "dd" => {
                let inner = self.apart(node, depth).text;
                out.gap(Gap::Line);
                match (self.markdown() && !inner.is_empty(), tag) {
                    (true, "dt") => out.raw(&format!("**{inner}**")),
                    (true, _) => out.raw(&format!(": {inner}")),
                    (false, _) => out.raw(&inner),
                }
                out.gap(Gap::Line);
            }
            tag => {
                let gap = match tag {
                    tag if APART.contains(&tag) => Gap::Blank,
                    tag if LINES.contains(&tag) => Gap::Line,
                    _ => Gap::None,
                };
                out.gap(gap);
                self.children(node, out, depth);
                out.gap(gap);
            }
        }
    }

    fn link(self, attributes: &[Attribute], node: &Handle, out: &mut Out, depth: usize) {
        let mut inner = Self { in_link: true, ..self }.apart(node, depth);
        match target(attribute(attributes, "href")) {
            Some(target) if self.markdown() && !self.in_link => {
                inner.text = inner.text.replace('\n', " ");
                out.marked("[", &inner, &format!("]({target})"));
            }
            _ => out.marked("", &inner, ""),
        }
    }

    fn image(self, attributes: &[Attribute], out: &mut Out) {
        let alt = attribute(attributes, "alt").split_whitespace().collect::<Vec<_>>().join(" ");
        match target(attribute(attributes, "src")) {
            Some(target) if self.markdown() => out.raw(&format!("![{alt}]({target})")),
            _ => out.raw(&alt),
        }
    }

    fn preformatted(self, attributes: &[Attribute], node: &Handle, out: &mut Out, depth: usize) {
        let mut text = String::new();
        let mut language = language(attributes);
        self.verbatim(node, &mut text, &mut language, depth);
        let text = text.trim_matches('\n').trim_end();
        if !self.markdown() || text.is_empty() {
            return out.block(text);
        }
        let mut fence = "```".to_owned();
        while text.contains(&fence) {
            fence.push('`');
        }
        out.block(&format!("{fence}{}\n{text}\n{fence}", language.unwrap_or_default()));
    }

    fn verbatim(self, node: &Handle, text: &mut String, language_of: &mut Option<String>, depth: usize) {
        if depth >= MAX_DEPTH {
            return;
        }
        for child in node.children.borrow().iter().filter(|child| !self.skips(child)) {
            match &child.data {
                NodeData::Text { contents } => text.push_str(&contents.borrow()),
                NodeData::Element { name, .. } if &*name.local == "br" => text.push('\n'),
                NodeData::Element { attrs, .. } => {
                    if language_of.is_none() {
                        *language_of = language(&attrs.borrow());
                    }
                    self.verbatim(child, text, language_of, depth + 1);
                }
                _ => {}
            }
        }
    }

    fn list(self, numbered: bool, attributes: &[Attribute], node: &Handle, out: &mut Out, depth: usize) {
        let mut number = attribute(attributes, "start").trim().parse::<i64>().unwrap_or(1);
        let mut items = Vec::new();
        for child in node.children.borrow().iter().filter(|child| name(child).is_some() && !self.skips(child)) {
            let inner = if name(child) == Some("li") { self.apart(child, depth + 1).text } else { self.single(child, depth + 1) };
            if inner.is_empty() {
                continue;
            }
            let mark = match (self.markdown(), numbered) {
                (false, _) => String::new(),
                (true, true) => format!("{number}. "),
                (true, false) => "- ".into(),
            };
            let indent = if self.markdown() { "\n  " } else { "\n" };
            items.push(format!("{mark}{}", tight(&inner).replace('\n', indent)));
            number = number.saturating_add(1);
        }
        // A list inside of an item belongs to it.
        let gap = if depth > 0 && is_item(node) { Gap::Line } else { Gap::Blank };
        out.gap(gap);
        out.raw(&items.join("\n"));
        out.gap(gap);
    }

    fn single(self, node: &Handle, depth: usize) -> String {
        let mut out = Out::default();
        self.node(node, &mut out, depth);
        out.text
    }

    fn table(self, node: &Handle, out: &mut Out, depth: usize) {
        let mut rows = Vec::new();
        for child in node.children.borrow().iter().filter(|child| !self.skips(child)) {
            match name(child) {
                Some("thead" | "tbody" | "tfoot") => {
                    for row in child.children.borrow().iter().filter(|row| name(row) == Some("tr") && !self.skips(row)) {
                        rows.push(self.cells(row, depth));
                    }
                }
                Some("tr") => rows.push(self.cells(child, depth)),
                Some("caption") => out.block(&self.apart(child, depth).text),
                _ => {}
            }
        }
        rows.retain(|row: &Vec<String>| row.iter().any(|cell| !cell.is_empty()));
        let mut lines: Vec<String> = rows.iter().map(|row| if self.markdown() { format!("| {} |", row.join(" | ")) } else { row.join(" | ") }).collect();
        if self.markdown()
            && let Some(first) = rows.first()
        {
            lines.insert(1, format!("|{}", " --- |".repeat(first.len())));
        }
        out.block(&lines.join("\n"));
    }

    fn cells(self, row: &Handle, depth: usize) -> Vec<String> {
        let cell = |cell: &Handle| {
            let text = self.apart(cell, depth + 2).text;
            let line = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
            if self.markdown() { line.replace('|', "\\|") } else { line }
        };
        row.children.borrow().iter().filter(|node| matches!(name(node), Some("td" | "th")) && !self.skips(node)).map(cell).collect()
    }
}

/// The language that a class names.
fn language(attributes: &[Attribute]) -> Option<String> {
    let class = attribute(attributes, "class").split_whitespace().find_map(|class| class.strip_prefix("language-").or_else(|| class.strip_prefix("lang-")))?;
    let language: String = class.chars().filter(|c| c.is_ascii_alphanumeric() || "+-#._".contains(*c)).take(30).collect();
    (!language.is_empty()).then_some(language)
}

/// `text` without blank lines.
fn tight(text: &str) -> String {
    text.replace("\n\n", "\n")
}

/// Whether a node's parent is an item of a list.
fn is_item(node: &Handle) -> bool {
    let parent = node.parent.take();
    let is = parent.as_ref().and_then(std::rc::Weak::upgrade).is_some_and(|parent| name(&parent) == Some("li"));
    node.parent.set(parent);
    is
}
