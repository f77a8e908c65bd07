use super::*;
use proptest::prelude::*;

fn markdown(page: &str) -> String {
    convert(page, Mode::Markdown)
}

fn text(page: &str) -> String {
    convert(page, Mode::Text)
}

#[test]
fn inline_marks_keep_the_blanks_around_them() {
    assert_eq!(markdown("<p>a<b> bold </b>b  and\n<em>em</em>, <code>c d</code></p>"), "a **bold** b and *em*, `c d`");
    assert_eq!(text("<p>a<b> bold </b>b <code>c</code></p>"), "a bold b c");
}

#[test]
fn blocks_stand_apart_by_one_blank_line() {
    assert_eq!(markdown("<h1>T</h1>\n\n<div><div><p>one</p></div></div><p>two<br>three</p><hr><h3>S</h3>x"), "# T\n\none\n\ntwo\nthree\n\n---\n\n### S\n\nx");
    assert_eq!(text("<h1>T</h1><p>one</p><hr><blockquote>q</blockquote>"), "T\n\none\n\nq");
    assert_eq!(markdown("<blockquote><p>a</p><p>b</p></blockquote>"), "> a\n>\n> b");
}

#[test]
fn links_and_images_keep_their_targets_unless_they_are_scripts() {
    assert_eq!(markdown("<a href='/x y'>go <b>on</b></a>"), "[go **on**](/x%20y)");
    assert_eq!(markdown("<a href=' JavaScript:alert(1)'>go</a><a href=''>no</a>"), "gono");
    assert_eq!(markdown("<img alt='a  b' src='i.png'><img alt=c src='data:x'>"), "![a b](i.png)c");
    assert_eq!(text("<a href=x>go</a> <img alt=pic src=i.png>"), "go pic");
}

#[test]
fn code_is_fenced_with_its_language() {
    assert_eq!(markdown("<pre><code class='hl language-rust'>fn  a() {\n  b\n}\n</code></pre>"), "```rust\nfn  a() {\n  b\n}\n```");
    assert_eq!(markdown("<pre class=lang-sh>```</pre>"), "````sh\n```\n````");
    assert_eq!(text("<pre>a  b\n c</pre>"), "a  b\n c");
}

#[test]
fn lists_are_marked_numbered_and_indented() {
    assert_eq!(markdown("<ul><li>a<ul><li>b</li><li>c</li></ul></li><li><p>d</p></li></ul>"), "- a\n  - b\n  - c\n- d");
    assert_eq!(markdown("<ol start=3><li>a</li><li>b</li></ol>x"), "3. a\n4. b\n\nx");
    assert_eq!(text("<ul><li>a<li>b</ul>"), "a\nb");
    assert_eq!(markdown("<dl><dt>t</dt><dd>d</dd></dl>"), "**t**\n: d");
}

#[test]
fn tables_have_a_separator_after_the_first_row() {
    let page = "<table><thead><tr><th>A<th>B</thead><tbody><tr><td>1|2<td><p>x</p><p>y</p></tbody></table>";
    assert_eq!(markdown(page), "| A | B |\n| --- | --- |\n| 1\\|2 | x y |");
    assert_eq!(text(page), "A | B\n1|2 | x y");
}

#[test]
fn what_readers_do_not_see_is_left_out() {
    let page = "<head><title>t</title></head><body><nav>n</nav><script>s</script><noscript>ns</noscript><svg><text>v</text></svg><template>tp</template>
        <form>f</form><footer>ft</footer><div hidden>h1</div><div aria-hidden=true>h2</div><div class='x SR-only'>h3</div>
        <div style='display: none'><p>h4 <b>deep</b></p></div><span style='font-size:0'>h5</span><pre>code<i hidden>h6</i></pre>
        <table><tr><td>c<td hidden>h7</table><ul><li class=hide>h8</ul><header>top</header>seen";
    assert_eq!(markdown(page), "```\ncode\n```\n\n| c |\n| --- |\n\ntop\n\nseen");
    assert_eq!(text(page), "code\n\nc\n\nseen");
}

#[test]
fn markdown_is_stripped_to_its_text() {
    assert_eq!(without_markdown("# T\n\n> a [b](c) **d** *e* `f`\n\n```rust\nx\n```\n---"), "T\n\na b d e f\n\nx");
}

#[test]
fn pages_that_ask_for_too_much_are_cut_short() {
    let deep = "<div>".repeat(50_000) + "x";
    assert_eq!(markdown(&deep), "");
    let wide: String = "<p>seen".to_owned() + &(0..5_000).map(|n| format!("<font a={n}>")).collect::<String>() + &"<p>y".repeat(20_000);
    assert!(markdown(&wide).starts_with("seen"));
    assert!(text(&("<blockquote><ul><li>".repeat(3_000) + "x")).is_empty());
}

proptest! {
    #[test]
    fn any_page_is_converted_without_a_panic(parts in prop::collection::vec(prop_oneof![
        Just("<table>"), Just("<tr>"), Just("<td>"), Just("</table>"), Just("<ul>"), Just("<li>"), Just("<pre>"), Just("<a href=x>"), Just("<b>"), Just("</b>"),
        Just("<h2>"), Just("<p>"), Just("é\n"), Just("text "), Just("<svg>"), Just("<dl><dt>"), Just("<blockquote>"), Just("<img alt=i src=s>")], 0..40)) {
        let page = parts.concat();
        for mode in [Mode::Markdown, Mode::Text] {
            let text = convert(&page, mode);
            prop_assert!(!text.starts_with('\n') && !text.ends_with('\n'), "{:?} -> {:?}", page, text);
        }
    }
}
