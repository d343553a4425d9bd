//! The language of chat templates in small: each case is a source and what Python's Jinja makes of it.

use lair_text::template::{ChatTemplate, LocalTime, RenderInput, Rendered};
use serde_json::{Value as Json, json};

fn render_messages(source: &str, messages: &[Json]) -> Rendered {
    let template = ChatTemplate::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let now = Some(LocalTime::from_date(2025, 7, 26, 12, 34, 56));
    let tokens = [("bos_token", "<s>")];
    let input = RenderInput { messages, add_generation_prompt: true, tokens: &tokens, now, ..Default::default() };
    template.render(&input).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn check(cases: &[(&str, &str)]) {
    let messages = [json!({"role": "user", "content": " Hi\n", "n": 1.5, "d": {"items": 1, "b": [true, null]}})];
    for (source, expected) in cases {
        assert_eq!(render_messages(source, &messages).text, *expected, "{source}");
    }
}

#[test]
fn trims_whitespace_around_tags() {
    check(&[
        ("a\n  {% if 1 %}\nb\n  {% endif %}\nc", "a\nb\nc"),
        ("a\n  {%+ if 1 %}\nb{% endif +%}\nc", "a\n  b\nc"),
        ("a  {%- if 1 -%}  b  {%- endif -%}  c", "abc"),
        ("a  {{- 1 -}}  b", "a1b"),
        ("  {{ 1 }}\n  {# x #}\n  {# y -#}\n\n z\n", "  1\nz"),
        ("{% raw %}{{ a }}{% endraw %}\n{%- raw -%} {% b %} {%- endraw +%}\nc", "{{ a }}{% b %}\nc"),
        ("{%- generation +%}\nx{% endgeneration %}\n", "\nx"),
        ("a\r\nb\n\n", "a\nb\n"),
    ]);
}

#[test]
fn computes_as_python_does() {
    check(&[
        ("{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 3 }} {{ 1 + 2 * 3 }}", "3 -4 2 3.5 8 7"),
        ("{{ 1e16 }} {{ 0.00001 }} {{ 100.0 }} {{ 1.0 + 2 }}", "1e+16 1e-05 100.0 3.0"),
        ("{{ 1 < 2 < 3 }} {{ 'a' in 'abc' }} {{ 1 not in [2] }} {{ 1 == 1.0 }}", "True True True True"),
        ("{{ 'ab' * 2 }}{{ [1] + [2] }}{{ 1 ~ none ~ true }}", "abab[1, 2]1NoneTrue"),
        ("{{ 'abc'[::-1] }} {{ 'abcdef'[1:4] }} {{ [1,2,3][-1] }} {{ [1,2,3][1:] }}", "cba bcd 3 [2, 3]"),
        ("{{ \"it's\" }} {{ [\"it's\", 'a\"b', '\\n'] }}", "it's [\"it's\", 'a\"b', '\\n']"),
        ("{{ 'a' if false }}|{{ missing }}|{{ missing|length }}|{{ missing is defined }}", "||0|False"),
        ("{{ '%s is %05.1f%%' % ('x', 2.25) }} {{ '{} {1} {n:>4}|'.format(1, 2, n=3) }}", "x is 002.2% 1 2    3|"),
        (
            "{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a-b-c'.rsplit('-', 1) }}",
            "['a', 'b', '', 'c'] ['a', 'b'] ['a-b', 'c']",
        ),
        ("{{ 'xxaxx'.strip('x') }} {{ 'Hello'.upper() }} {{ 'ab'.startswith(('x', 'a')) }}", "a HELLO True"),
    ]);
}

#[test]
fn knows_dicts_filters_and_tests() {
    check(&[
        ("{{ messages[0].content|trim }}|{{ messages[0]['role'] }}", "Hi|user"),
        ("{{ messages[0].d['items'] }} {{ messages[0].d.b }} {{ messages[0].get('x', 5) }}", "1 [True, None] 5"),
        ("{% for k, v in messages[0].d.items() %}{{ k }}={{ v }};{% endfor %}", "items=1;b=[True, None];"),
        ("{{ messages[0].d|tojson }}", "{\"items\": 1, \"b\": [true, null]}"),
        ("{{ messages[0].d|tojson(indent=1) }}", "{\n \"items\": 1,\n \"b\": [\n  true,\n  null\n ]\n}"),
        ("{{ '<é>\\\"'|tojson }} {{ 'é'|tojson(ensure_ascii=true) }}", "\"<é>\\\"\" \"\\u00e9\""),
        ("{{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ [3,1,2]|sort|join('-') }}", "1 1-2-3"),
        ("{{ messages|map(attribute='role')|first }} {{ ['b','a','b']|unique|list }}", "user ['b', 'a']"),
        ("{{ 'a\nb'|indent(2) }} {{ 'x'|default('y') }} {{ missing|default('y') }}", "a\n  b x y"),
        ("{{ {'b': 1, 'a': 2}|dictsort }} {{ '5'|int + 1 }} {{ 'a'|upper }}", "[('a', 2), ('b', 1)] 6 A"),
        ("{{ '<a>'|e + '<b>' }} {{ '<a>'|safe + '<b>' }}", "&lt;a&gt;&lt;b&gt; <a>&lt;b&gt;"),
        (
            "{{ messages[0].content is string }}{{ messages is iterable }}{{ {} is mapping }}{{ 3 is odd }}",
            "TrueTrueTrueTrue",
        ),
    ]);
}

#[test]
fn keeps_the_oddities_of_python() {
    check(&[
        ("{{ \"it's a\"|title }} {{ \"it's a\".title() }}", "It's A It'S A"),
        ("{{ ' a  b c '.split(none, 1) }} {{ ' a  b c '.rsplit(none, 1) }}", "['a', 'b c '] [' a  b', 'c']"),
        ("{{ 7|round }} {{ 2.5|round }} {{ 3.14159|round(2) }} {{ 7|round(0, 'ceil') }}", "7 2.0 3.14 7.0"),
        (
            "{{ ['b', 'A', 'c']|sort }} {{ 'a b  c'|wordcount }} {{ [1, 2, 3]|batch(2, 0)|list }}",
            "['A', 'b', 'c'] 3 [[1, 2], [3, 0]]",
        ),
        ("{{ 'line1\n\nline3\n'|indent(2) }}|{{ ''|indent(2, true) }}|", "line1\n\n  line3\n|  |"),
        ("{% set g = [1, 2]|map('string') %}{{ g|list }}{{ g|list }}", "['1', '2'][]"),
        ("{{ {1: 'a', true: 'c'} }} {{ (1,) }} {{ range(1, 10, 3) }}", "{1: 'c'} (1,) range(1, 10, 3)"),
    ]);
}

#[test]
fn runs_statements() {
    check(&[
        ("{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}", "1"),
        ("{% set n = namespace(x=1) %}{% for i in [1] %}{% set n.x = 2 %}{% endfor %}{{ n.x }}", "2"),
        (
            "{% for i in range(9) if i is even %}{% if i == 6 %}{% break %}{% endif %}{{ loop.index }}{{ i }} {% endfor %}",
            "10 22 34 ",
        ),
        (
            "{% for i in [1,2,3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{{ '' if loop.last else ',' }}{% endfor %}",
            "1,3",
        ),
        ("{% for i in [] %}x{% else %}none{% endfor %}", "none"),
        (
            "{% macro m(a, b='y') %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m('x', 'z', 1, c=2) }}",
            "xz(1,){'c': 2}",
        ),
        ("{% macro w() %}<{{ caller('i') }}>{% endmacro %}{% call(x) w() %}{{ x }}!{% endcall %}", "<i!>"),
        ("{% set t %} a {% endset %}{{ t|trim }}{% filter upper %}b{% endfilter %}", "aB"),
        ("{% for x in [[1, [2]], 3] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}", "123"),
        ("{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}", "3False"),
        ("{% set a, b = 1, 2 %}{{ b }}{{ strftime_now('%d %b %Y') }}", "226 Jul 2025"),
        ("{% if add_generation_prompt and not x %}{{ bos_token }}{% elif y %}{% endif %}", "<s>"),
    ]);
}

#[test]
fn remembers_who_wrote_each_byte() {
    let messages = [json!({"role": "user", "content": " <|x|>,B "}), json!({"role": "<|y|>", "content": "<s>"})];
    let pieces = |source: &str| {
        let rendered = render_messages(source, &messages);
        rendered
            .pieces()
            .map(|(text, trusted)| format!("{}{text}", if trusted { '+' } else { '-' }))
            .collect::<Vec<_>>()
    };
    let cases: [(&str, &[&str]); 12] = [
        ("{{ bos_token }}{{ messages[0].content }}</s>", &["+<s>", "- <|x|>,B ", "+</s>"]),
        ("{{ '<|' + messages[0].role + '|>' }}", &["+<|user|>"]),
        ("{{ '<|' + messages[1].role + '|>' }}", &["+<|", "-<|y|>", "+|>"]),
        ("{{ messages[0].content.strip().split(',')|join(';') }}", &["-<|x|>", "+;", "-B"]),
        ("{{ messages[0].content|trim|upper|replace('X', 'z') }}", &["-<|", "+z", "-|>,B"]),
        ("{{ messages[1].content|tojson }}", &["+\"", "-<s>", "+\""]),
        ("{{ [messages[1].content] }}", &["+['", "-<s>", "+']"]),
        ("{{ messages[0].content[1:6] ~ bos_token }}", &["-<|x|>", "+<s>"]),
        ("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(messages[1].content) }}", &["+[", "-<s>", "+]"]),
        ("{% set t %}a{{ messages[1].content|e }}{% endset %}{{ t }}", &["+a", "-&lt;s&gt;"]),
        ("{{ '%s|%s' % (messages[1].content, 'a') }}", &["-<s>", "+|a"]),
        (
            "{% for k, v in messages[1].items() %}{{ k }}={{ v }};{% endfor %}",
            &["-role", "+=", "-<|y|>", "+;", "-content", "+=", "-<s>", "+;"],
        ),
    ];
    for (source, expected) in cases {
        assert_eq!(pieces(source), expected, "{source}");
    }
}

#[test]
fn renders_chatml() {
    let messages =
        [json!({"role": "system", "content": "Be brief."}), json!({"role": "user", "content": "Hi <|im_end|>"})];
    let input = RenderInput { messages: &messages, add_generation_prompt: true, ..Default::default() };
    let rendered = ChatTemplate::chatml().render(&input).expect("it renders");
    let expected =
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(rendered.text, expected);
    let ends: Vec<_> =
        expected.match_indices("<|im_end|>").map(|(at, end)| rendered.is_trusted(at..at + end.len())).collect();
    assert_eq!(ends, [true, false, true]);
}
