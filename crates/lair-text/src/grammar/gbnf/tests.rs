//! What is written here in GBNF is accepted and refused as its author would expect.

use std::sync::Arc;

use crate::grammar::tests::{accepts, byte_tokenizer};
use crate::grammar::{GrammarError, GrammarFactory, GrammarSource};

#[track_caller]
fn check(grammar: &str, good: &[&str], bad: &[&str]) {
    let factory = GrammarFactory::new(Arc::new(byte_tokenizer()));
    let compiled = factory.compile(&GrammarSource::Gbnf(grammar.to_owned())).unwrap_or_else(|error| panic!("{error}"));
    for text in good {
        assert!(accepts(&factory, &compiled, text), "{text:?} should be accepted");
    }
    for text in bad {
        assert!(!accepts(&factory, &compiled, text), "{text:?} should be refused");
    }
}

/// A JSON object, with strings, numbers and little white space.
const JSON: &str = r##"
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( member ("," ws member)* )? "}" ws
member ::= string ":" ws value
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws     ::= | " " | "\n" [ \t]{0,20}
"##;

#[test]
fn json() {
    check(
        JSON,
        &["{}", r#"{"a": 1.5e3, "b": [true, null, "x\né"]}"#, "{\n  \"k\": {}}", r#"{"u":"\u00e9"}"#, r#"{"n":-0}"#],
        &["", "[]", "{", r#"{"a" 1}"#, r#"{"a": 01}"#, "{\"a\": \"\n\"}", r#"{"a":1,}"#, r#"{"a":tru}"#],
    );
}

#[test]
fn arithmetic_by_left_recursion_and_by_repetition() {
    let repeated = "root ::= (expr \"=\" ws term \"\\n\")+\nexpr ::= term ([-+*/] term)*\n\
                    term ::= ident | num | \"(\" ws expr \")\" ws\nident ::= [a-z] [a-z0-9_]* ws\n\
                    num ::= [0-9]+ ws\nws ::= [ \\t\\n]*";
    check(repeated, &["1+2=3\n", "( a *(b1 -2) ) =c\nx=1\n"], &["1+2\n", "1+=2\n", "(1=2\n", "=1\n"]);
    let left = "root ::= sum\nsum ::= sum \"+\" product | product\nproduct ::= product \"*\" [0-9]+ | [0-9]+ | \"(\" sum \")\"";
    check(left, &["1", "12+(4+5)*3", "((7))"], &["+", "1+", "(1", "1 + 1"]);
}

#[test]
fn chess_moves() {
    let chess = r##"
# Two moves at least, as players note them.
root ::= (
    "1. " move " " move "\n"

    # the others
    ([1-9] [0-9]? ". " move " " move "\n")+
)
move ::= (pawn | piece | castle) [+#]?
piece ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?
"##;
    check(
        chess,
        &["1. e4 e5\n2. Nf3 Nc6\n", "1. d4 Nf6\n2. c4 e6\n3. O-O-O Qxd8+\n"],
        &["1. e4 e5\n", "1. e9 e5\n2. e4 e5\n", "e4"],
    );
}

#[test]
fn lists_classes_and_characters_of_all_planes() {
    check("root ::= (\"- \" item)+\nitem ::= [^\\n]+ \"\\n\"", &["- a\n", "- ä b\n- 🦙\n"], &["a\n", "- \n", "- a"]);
    check("root ::= [ぁ-ゟ]{2,3} | \"\\u00e9\" . \"\\U0001F999\"", &["ぁあ", "ぁあぃ", "éx🦙"], &["ぁ", "aa", "ex🦙"]);
    check("root ::= \"abc\"? [a-z]{3} |\n \"-\"", &["abd", "abcabd", "-", "abc"], &["ab", "abcab", "abcdefg"]);
    // Longest words first would go wrong here.
    check(
        "root ::= x | \"(\" root \")\"\nx ::= [a-z]* \"end\"",
        &["send", "(((end)))", "endend"],
        &["en", "(end", "endx"],
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let factory = GrammarFactory::new(Arc::new(byte_tokenizer()));
    let deep = format!("root ::= {}\"a\"{}", "(".repeat(60_000), ")".repeat(60_000));
    let chain: String = (0..9_000).map(|index| format!("r{index} ::= r{}\n", index + 1)).collect();
    let chain = format!("root ::= r0\n{chain}r9000 ::= \"a\" root?\n");
    let product = "root ::= ((\"a\"{1000}){1000}){1000} root?".to_owned();
    for (grammar, words) in [
        ("a ::= \"x\"", "no rule `root`"),
        ("root ::= a", "`a` is used and not defined"),
        ("root ::= \"x", "line 1, column 12"),
        ("root ::= [a", "`]` is expected"),
        ("root ::= \"a\"{3,1}", "wrong way round"),
        ("root ::= \"a\"{9999}", "repetitions"),
        ("root ::= \"\\q\"", "an escape is"),
        ("root = \"a\"", "`::=` is expected"),
        ("root ::= \"a\"\nroot ::= \"b\"", "defined twice"),
        ("root ::= \"a\" )", "`)` is not expected"),
        ("root ::= \"a\" root", "ever ends"),
        ("root ::= <nobody>", "not a token"),
        (&deep, "levels of nesting"),
        (&product, "symbols in a rule"),
    ] {
        let error = factory.compile(&GrammarSource::Gbnf(grammar.to_owned())).expect_err("wrong");
        assert!(error.to_string().contains(words), "{error} should mention {words}");
    }
    // A chain of rules takes no stack.
    let outcome = factory.compile(&GrammarSource::Gbnf(chain));
    assert!(matches!(&outcome, Ok(_) | Err(GrammarError::TooComplex { .. })), "{outcome:?}");
}
