//! Hostile templates end with an error: no panic, no overflow of the stack, no unbounded time or memory.
#![allow(missing_docs, reason = "the attack list calls these tests by their names, which say what they hold")]

use lair_text::template::{ChatTemplate, RenderInput, RenderLimits, TemplateError, TemplateFault};
use serde_json::{Map, Value as Json, json};

/// Less than the stack of any thread a server renders on.
const STACK_BYTES: usize = 1 << 20;

fn parse_and_render(source: &str, limits: RenderLimits) -> Result<String, TemplateError> {
    let messages = [json!({"role": "user", "content": "0123456789"})];
    let template = ChatTemplate::parse(source)?;
    let input = RenderInput { messages: &messages, limits, ..RenderInput::default() };
    template.render(&input).map(|rendered| rendered.text)
}

/// The same on a small stack, with limits low enough to keep the test quick.
fn attack(source: String) -> Result<String, TemplateError> {
    let limits = RenderLimits { fuel: 2_000_000, memory_bytes_max: 32 << 20, ..RenderLimits::default() };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let thread = thread.spawn(move || parse_and_render(&source, limits)).expect("a thread starts");
    thread.join().expect("no attack panics")
}

/// Whether the fault is one of the limits.
fn is_limit(fault: &TemplateFault) -> bool {
    use TemplateFault::*;
    matches!(
        fault,
        SourceTooLarge { .. }
            | NestedTooDeep { .. }
            | CallsTooDeep { .. }
            | ValueTooDeep { .. }
            | OutOfFuel { .. }
            | OutOfMemory { .. }
            | OutputTooLarge { .. }
    )
}

#[test]
pub fn refuses_sources_that_nest_too_deep() {
    let wrapped = |open: &str, middle: &str, close: &str| open.repeat(10_000) + middle + &close.repeat(10_000);
    let sources = [
        format!("{{{{ {} }}}}", wrapped("(", "1", ")")),
        format!("{{{{ {} }}}}", wrapped("[", "1", "]")),
        format!("{{{{ {} }}}}", wrapped("{1:", "1", "}")),
        format!("{{{{ {} }}}}", wrapped("f(", "1", ")")),
        format!("{{{{ {} }}}}", wrapped("a[", "1", "]")),
        format!("{{{{ {} }}}}", wrapped("1 if 1 else ", "1", "")),
        format!("{{{{ {} }}}}", wrapped("not ", "1", "")),
        format!("{{{{ {} }}}}", wrapped("-", "1", "")),
        format!("{{{{ {} }}}}", wrapped("", "1", "+1")),
        format!("{{{{ {} }}}}", wrapped("", "1", "**1")),
        format!("{{{{ {} }}}}", wrapped("", "1", " and 1")),
        format!("{{{{ {} }}}}", wrapped("", "a", ".a")),
        format!("{{{{ {} }}}}", wrapped("", "a", "()")),
        format!("{{{{ {} }}}}", wrapped("", "a", "|string")),
        format!("{{{{ {} }}}}", wrapped("", "a", " is defined")),
        wrapped("{% if 1 %}", "", "{% endif %}"),
        wrapped("{% for a in b %}", "", "{% endfor %}"),
        wrapped("{% macro m() %}", "", "{% endmacro %}"),
        wrapped("{% set a %}", "", "{% endset %}"),
        wrapped("{% generation %}", "", "{% endgeneration %}"),
        format!("{{% set {} = 1 %}}", wrapped("(", "a", ")")),
    ];
    for source in sources {
        let shown: String = source.chars().take(30).collect();
        let error = attack(source).expect_err(&shown);
        assert!(matches!(error.fault, TemplateFault::NestedTooDeep { .. }), "{shown}: {error}");
        assert!(error.line.is_some() && error.hint().is_some());
    }
}

#[test]
pub fn refuses_a_source_over_a_mebibyte() {
    let error = ChatTemplate::parse(&"x".repeat((1 << 20) + 1)).expect_err("too long");
    assert!(matches!(error.fault, TemplateFault::SourceTooLarge { found_bytes: 1_048_577, .. }));
    assert!(ChatTemplate::parse(&"x".repeat(1 << 20)).is_ok());
}

#[test]
pub fn ends_attacks_on_time_and_memory() {
    let doubling = "{% set n = namespace(s='ab') %}{% for i in range(1000) %}";
    let attacks = [
        "{{ 'a' * 10**9 }}".to_owned(),
        "{{ 10**9 * 'ab' }}".to_owned(),
        "{{ ([1] * 10**9)|length }}".to_owned(),
        "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}".to_owned(),
        "{% for i in range(10000) %}{% for j in range(10000) %}x{% endfor %}{% endfor %}".to_owned(),
        format!("{doubling}{{% set n.s = n.s ~ n.s %}}{{% endfor %}}"),
        format!("{doubling}{{% set n.s = n.s + n.s %}}{{% endfor %}}"),
        format!("{doubling}{{% set n.s = [n.s, n.s]|join %}}{{% endfor %}}"),
        format!("{doubling}{{% set n.s = '%s%s'|format(n.s, n.s) %}}{{% endfor %}}"),
        format!("{doubling}{{% set n.s = '{{0}}{{0}}'.format(n.s) %}}{{% endfor %}}"),
        format!("{doubling}{{% set n.s = n.s.replace('a', n.s) %}}{{% endfor %}}"),
        format!("{doubling}{{% set n.s %}}{{{{ n.s }}}}{{{{ n.s }}}}{{% endset %}}{{% endfor %}}"),
        format!("{doubling}{{% set n.s = [n.s, n.s] %}}{{% endfor %}}{{{{ n.s|tojson }}}}"),
        "{% set n = namespace(s=['a']) %}{% for i in range(90) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}"
            .to_owned(),
        "{% set n = namespace(s=['a']) %}{% for i in range(90) %}{% set n.s = [n.s, n.s] %}{% endfor %}\
         {{ n.s|tojson|length }}"
            .to_owned(),
        "{% set n = namespace(s=['a'], t=['a']) %}{% for i in range(90) %}{% set n.s = [n.s, n.s] %}\
         {% set n.t = [n.t, n.t] %}{% endfor %}{{ n.s == n.t }}"
            .to_owned(),
        "{% set n = namespace(s=[1]) %}{% for i in range(100) %}{% set n.s = n.s + n.s %}{% endfor %}".to_owned(),
        "{% set n = namespace(l=[]) %}{% for i in range(100000) %}{% set n.l = n.l + ['x' * 1000] %}{% endfor %}"
            .to_owned(),
        "{% set s = 'x' * 1000000 %}{% for i in range(100000) %}{{ s }}{% endfor %}".to_owned(),
        "{% set s = 'x' * 1000000 %}{% for i in range(100000) %}{% if 'y' in s %}{% endif %}{% endfor %}".to_owned(),
        "{% set s = 'x' * 1000000 %}{% for i in range(100000) %}{% set t = s.split('y') %}{% endfor %}".to_owned(),
        "{% set s = 'x' * 1000000 %}{% for i in range(100000) %}{% set t = s[5] %}{% endfor %}".to_owned(),
        "{{ ('x' * 16000000)|list }}".to_owned(),
        "{{ ('x,' * 8000000).split(',') }}".to_owned(),
        "{{ 'x'|center(10**12) }}".to_owned(),
        "{{ 'x'.ljust(10**12) }}".to_owned(),
        "{{ '%999999999d' % 1 }}".to_owned(),
        "{{ '%99999999999999999999999d' % 1 }}".to_owned(),
        "{{ '{:>99999999999}'.format(1) }}".to_owned(),
        "{{ 'x'|indent(10**12, true) }}".to_owned(),
        "{{ ('\\n' * 1000000)|indent(1000, true, true) }}".to_owned(),
        "{{ [1]|batch(100000, 'x' * 1000)|list|string|length }}".to_owned()
            + "{% for i in range(100000) %}{{ [1]|batch(100000, 1)|list|length }}{% endfor %}",
        "{% set n = namespace(s=1) %}{% for i in range(100000) %}{% set n.s = [n.s] %}{% endfor %}".to_owned(),
        "{% set n = namespace(s=1) %}{% for i in range(100000) %}{% set n.s = {'a': n.s} %}{% endfor %}".to_owned(),
        "{% set n = namespace() %}{% for i in range(100000) %}{% for j in range(100) %}\
         {% set n.h = namespace(before=n.h) %}{% endfor %}{% endfor %}"
            .to_owned(),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        "{% macro m(a) %}{% if a %}{% for x in [1] %}{{ (((m(a)))) ~ '' }}{% endfor %}{% endif %}{% endmacro %}{{ m(1) }}"
            .to_owned(),
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}".to_owned(),
        "{% macro a() %}{% call b() %}{{ a() }}{% endcall %}{% endmacro %}{% macro b() %}{{ caller() }}{% endmacro %}{{ a() }}"
            .to_owned(),
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(),
    ];
    for source in attacks {
        let error = attack(source.clone()).map(|text| text.len()).expect_err(&source);
        assert!(is_limit(&error.fault), "{source}: {error}");
        assert!(error.line.is_some(), "{source}: {error}");
    }
}

#[test]
pub fn refuses_what_python_cannot_do_either() {
    for (source, message) in [
        ("{{ range(10**9) }}", "Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000)."),
        ("{{ range(1, 5, 0) }}", "range() arg 3 must not be zero"),
        ("{{ 1 // 0 }}", "division by zero"),
        ("{{ 1 % 0 }}", "division by zero"),
        ("{{ 2 ** 1000 }}", "integer too large"),
        ("{{ [1].append(2) }}", "access to attribute 'append' of 'list' object is unsafe."),
        ("{{ ''.__class__.__mro__ }}", "'str object' has no attribute '__class__'"),
        ("{{ messages.__init__.__globals__ }}", "'list object' has no attribute '__init__'"),
        ("{{ '%.99999999999f' % 1 }}", "precision too big"),
        ("{{ [3, 'a', 1]|sort }}", "'<' not supported between instances of 'str' and 'int'"),
        ("{% set n = namespace() %}{{ n.f() }}", "'Namespace object' has no attribute 'f'"),
        ("{{ self.x }}", "'self' is undefined"),
        ("{{ lipsum() }}", "'lipsum' is undefined"),
        ("{{ environ|tojson }}", "Object of type Undefined is not JSON serializable"),
    ] {
        let error = attack(source.to_owned()).expect_err(source);
        assert_eq!(error.fault.to_string(), message, "{source}");
    }
    for source in ["{% include 'a' %}", "{% import 'a' as b %}", "{% extends 'a' %}", "{% from 'a' import b %}"] {
        let error = attack(source.to_owned()).expect_err(source);
        assert!(matches!(error.fault, TemplateFault::Unsupported { .. }), "{source}: {error}");
    }
}

#[test]
pub fn limits_the_rendered_text_to_what_the_caller_allows() {
    let source = "{% for i in range(100) %}0123456789{% endfor %}";
    let limits = |context_bytes| RenderLimits::for_context(context_bytes);
    assert_eq!(parse_and_render(source, limits(250)).map(|text| text.len()), Ok(1000));
    let error = parse_and_render(source, limits(249)).expect_err("one byte too long");
    assert_eq!(error.fault, TemplateFault::OutputTooLarge { limit_bytes: 996 });
    assert_eq!(limits(usize::MAX).output_bytes_max, 16 << 20);
}

#[test]
pub fn carries_the_message_and_line_of_the_template() {
    let source =
        "{{- messages[0].role }}\n{% if true %}\n  {{ raise_exception('Roles must ' ~ 'alternate') }}\n{% endif %}";
    let error = parse_and_render(source, RenderLimits::default()).expect_err("the template refuses");
    assert_eq!(error.fault, TemplateFault::Raised { message: "Roles must alternate".to_owned() });
    assert_eq!(error.to_string(), "template line 3: Roles must alternate");
    let error = parse_and_render("a\n{% if x %}\n", RenderLimits::default()).expect_err("no end");
    assert!(matches!(error, TemplateError { line: Some(2), fault: TemplateFault::Syntax { .. } }), "{error}");
}

#[test]
pub fn refuses_variables_that_the_engine_sets() {
    let template = ChatTemplate::parse("{{ enable_thinking }}{{ bos_token }}").expect("it parses");
    let render = |variables: Json| {
        let variables: Map<String, Json> = variables.as_object().expect("an object").clone();
        let input = RenderInput { tokens: &[("bos_token", "<s>")], variables: Some(&variables), ..Default::default() };
        template.render(&input).map(|rendered| rendered.text)
    };
    assert_eq!(render(json!({"enable_thinking": false})), Ok("False<s>".to_owned()));
    for name in ["messages", "tools", "bos_token", "raise_exception", "loop", "_x", "a b", "", "add_generation_prompt"]
    {
        let error = render(json!({name: 1})).expect_err(name);
        assert!(matches!(error.fault, TemplateFault::VariableRefused { .. }), "{name}: {error}");
    }
}

#[test]
pub fn refuses_damaged_sources() {
    let sources = [
        "{{",
        "{{ a",
        "{% if",
        "{% if a %}",
        "{%",
        "{#",
        "{% raw %}",
        "{{ 'a }}",
        "{{ a[ }}",
        "{{ a) }}",
        "{% for %}",
        "{% endif %}",
        "{% else %}",
        "{{ }}",
        "{{ 1 2 }}",
        "{% set = 1 %}",
        "{% set true = 1 %}",
        "{% foo %}",
        "{{ a.|b }}",
        "{{ '\\x' }}",
        "{{ '\\ud800' }}",
        "{% macro m(a=1, b) %}{% endmacro %}",
        "{% break %}",
        "{% for a in b %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}",
        "{{ a[1:2:3:4] }}",
        "{{ 9",
        "{{ 99999999999999999999999999999999999999999999 }}",
        "{{ ! }}",
        "{% call 1 %}{% endcall %}",
        "{{ a b=1 }}",
    ];
    for source in sources {
        let error = ChatTemplate::parse(source).map(|_| ()).expect_err(source);
        assert!(matches!(error.fault, TemplateFault::Syntax { .. }), "{source}: {error}");
    }
}

/// Pieces that random templates are made of.
const FRAGMENTS: [&str; 60] = [
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "{%- ",
    " -%}",
    "if ",
    "endif",
    "for x in ",
    "endfor",
    "set a = ",
    "set a",
    "endset",
    "macro m(a) ",
    "endmacro",
    "m(1)",
    "else",
    "elif ",
    "messages",
    "[0]",
    ".content",
    "a",
    "x",
    "loop",
    ".index",
    "'é<|b|>'",
    "''",
    "1",
    "-3",
    "1.5",
    "0",
    "99999999999999999999",
    "none",
    "true",
    "[1, 'b']",
    "{'k': x}",
    "(1,)",
    "[-2:5]",
    "[::-1]",
    "[3:1]",
    " + ",
    " ~ ",
    " * ",
    " % ",
    " // ",
    " ** ",
    " in ",
    " is ",
    "defined",
    " not ",
    "|tojson(indent=2)",
    "|sort",
    "|indent(3)",
    ".split('é')",
    ".rsplit(none, 1)",
    ".center(9)",
    "|truncate(2)",
    "'%5.1f %s'",
    ".format(a)",
    "|groupby('role')",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_templates_end_with_text_or_error(choices in proptest::collection::vec(0..FRAGMENTS.len(), 0..14)) {
        let inner: String = choices.iter().map(|&choice| FRAGMENTS[choice]).collect();
        let limits = RenderLimits { fuel: 100_000, output_bytes_max: 10_000, memory_bytes_max: 1 << 20 };
        for source in [format!("{{{{ {inner} }}}}"), format!("{{% set a = messages[0] %}}{inner}")] {
            if let Err(error) = parse_and_render(&source, limits) {
                proptest::prop_assert!(!error.to_string().is_empty() && error.line.is_some(), "{source}: {error}");
            }
        }
    }
}
