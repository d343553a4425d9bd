//! Modelfiles: the grammar, quoting, parameters, errors with lines, and what instructions amount to.

use lair_store::modelfile::{
    Instruction, Message, ModelSettings, Modelfile, ModelfileError, ParameterValue, Parameters, Part,
};
use proptest::prelude::*;

fn parse(text: &str) -> Modelfile {
    Modelfile::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn refuse(text: &str) -> ModelfileError {
    Modelfile::parse(text.as_bytes()).expect_err(text)
}

fn from(name: &str) -> Instruction {
    Instruction::From(name.to_string())
}

fn system(text: &str) -> Instruction {
    Instruction::System(text.to_string())
}

fn parameter(name: &str, value: &str) -> Instruction {
    Instruction::Parameter { name: name.to_string(), value: value.to_string() }
}

const SEED: &str = "FROM mistral\n\
    SYSTEM \"You are a concise assistant that explains things simply.\"\n\
    TEMPLATE \"{{ .Prompt }}\"\n\
    PARAMETER temperature 0.3\n";

#[test]
fn reads_a_short_modelfile() {
    let expected = vec![
        from("mistral"),
        system("You are a concise assistant that explains things simply."),
        Instruction::Template("{{ .Prompt }}".to_string()),
        parameter("temperature", "0.3"),
    ];
    assert_eq!(parse(SEED).instructions, expected);
    let settings = ModelSettings::from_modelfile(&parse(SEED)).expect("settings");
    assert_eq!(settings.parameters.real("temperature"), Some(0.3));
    assert_eq!(settings.template.as_deref(), Some("{{ .Prompt }}"));
}

#[test]
fn reads_every_instruction_in_any_order_and_case() {
    let text = "# made by hand\n\
        parser qwen3\n\
        Message user \"\"\"two\nlines\"\"\"\n\
        MESSAGE assistant  yes: indeed \n\
          license MIT\n\
        \n\
        REQUIRES v0.14.0\n\
        draft ./draft.gguf\n\
        renderer qwen3-coder\n\
        ADAPTER ./adapter.gguf\n\
        From ./model.gguf\n\
        FROM ./mmproj.gguf\n\
        PARAMETER stop \"<|im_end|>\"\n\
        parameter stop <|im_start|>\n\
        PARAMETER\tnum_ctx   4096\n\
        #TEMPLATE no\n\
        SYSTEM # is text here";
    let message = |role: &str, content: &str| {
        Instruction::Message(Message { role: role.to_string(), content: content.to_string() })
    };
    let expected = vec![
        Instruction::Parser("qwen3".to_string()),
        message("user", "two\nlines"),
        message("assistant", "yes: indeed"),
        Instruction::License("MIT".to_string()),
        Instruction::Requires("v0.14.0".to_string()),
        Instruction::Draft("./draft.gguf".to_string()),
        Instruction::Renderer("qwen3-coder".to_string()),
        Instruction::Adapter("./adapter.gguf".to_string()),
        from("./model.gguf"),
        from("./mmproj.gguf"),
        parameter("stop", "<|im_end|>"),
        parameter("stop", "<|im_start|>"),
        parameter("num_ctx", "4096"),
        system("# is text here"),
    ];
    assert_eq!(parse(text).instructions, expected);
    let settings = ModelSettings::from_modelfile(&parse(text)).expect("settings");
    assert_eq!(settings.parameters.stop(), ["<|im_end|>", "<|im_start|>"]);
    assert_eq!(settings.requires.as_deref(), Some("0.14.0"));
    assert_eq!(settings.adapters, [Part::Written("./adapter.gguf".to_string())]);
}

#[test]
fn follows_the_quoting_rules() {
    for (text, expected) in [
        ("SYSTEM plain text", "plain text"),
        ("SYSTEM  \t blanks around \t", "blanks around"),
        ("SYSTEM \"in quotes\"", "in quotes"),
        ("SYSTEM \"  kept  \"", "  kept  "),
        ("SYSTEM \"over\n  lines\n\"", "over\n  lines\n"),
        ("SYSTEM \"quotes \" inside\"", "quotes \" inside"),
        ("SYSTEM \"a\" b\nc\"", "a\" b\nc"),
        ("SYSTEM \"\"\"three \"quotes\" inside\"\"\"", "three \"quotes\" inside"),
        ("SYSTEM \"\"\"\nlines \"quoted\"\n\"\"\"  ", "\nlines \"quoted\"\n"),
        ("SYSTEM \"\"\"\"\"\"", ""),
        ("SYSTEM \"\"\"\"in\"\"\"\"", "\"in\""),
        ("SYSTEM \"\"", ""),
        ("SYSTEM ", ""),
        ("SYSTEM 'single'", "'single'"),
        ("SYSTEM \"no \\n escapes\"", "no \\n escapes"),
        ("SYSTEM it's \"half\" quoted", "it's \"half\" quoted"),
    ] {
        assert_eq!(parse(&format!("{text}\nFROM x")).instructions, [system(expected), from("x")], "{text:?}");
        assert_eq!(parse(&format!("FROM x\n{text}")).instructions, [from("x"), system(expected)], "{text:?}");
    }
}

#[test]
fn reads_line_ends_and_encodings_of_windows() {
    let expected = vec![from("x"), system("a\r\nb")];
    let text = "FROM x\r\nSYSTEM \"a\r\nb\"\r\n";
    assert_eq!(parse(text).instructions, expected);
    assert_eq!(parse(&format!("\u{feff}{text}")).instructions, expected);
    for unit in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes] {
        let bytes: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(unit).collect();
        assert_eq!(Modelfile::parse(&bytes).expect("UTF-16").instructions, expected);
        let error = Modelfile::parse(&bytes[..bytes.len() - 1]).expect_err("half a character");
        assert_eq!(error, ModelfileError::NotText { line: 3, encoding: "UTF-16" });
    }
    assert_eq!(Modelfile::parse(b"FROM x\nSYSTEM \xff"), Err(ModelfileError::NotText { line: 2, encoding: "UTF-8" }));
}

#[test]
fn refuses_with_the_line_and_the_name_that_is_meant() {
    for (text, words) in [
        ("", "no FROM line"),
        ("SYSTEM x", "no FROM line"),
        ("FROM", "line 1: `FROM` needs a value after it"),
        ("FROM \n", "line 1: `FROM` needs a model, a file or a digest after it"),
        ("FROM x\n\nPARAMTER temperature 1", "line 3: `PARAMTER` is not an instruction, did you mean `PARAMETER`?"),
        ("FROM x\nfoo bar", "line 2: `foo` is not an instruction"),
        ("FROM x\nPARAMETER temprature 1", "line 2: `temprature` is not a parameter, did you mean `temperature`?"),
        ("FROM x\nPARAMETER xyz 1", "line 2: `xyz` is not a parameter"),
        ("FROM x\nPARAMETER top_k", "line 2: `PARAMETER` needs a name and a value after it"),
        ("FROM x\nPARAMETER top_k 1.5", "line 2: parameter `top_k` is `1.5`, expected a whole number"),
        ("FROM x\nPARAMETER top_p high", "line 2: parameter `top_p` is `high`, expected a number"),
        ("FROM x\nPARAMETER top_p inf", "expected a number"),
        ("FROM x\nPARAMETER use_mmap maybe", "expected true or false"),
        ("FROM x\nMESSAGE tool hi", "line 2: message role `tool` must be one of"),
        ("FROM x\nMESSAGE user", "line 2: `MESSAGE` needs a role and a text"),
        ("FROM x\nSYSTEM \"\"\"a\nb\"\"", "line 2: text begins with \"\"\" that nothing ends"),
        ("FROM x\nSYSTEM \"", "line 2: text begins with \" that nothing ends"),
    ] {
        let message = refuse(text).to_string();
        assert!(message.contains(words), "{text:?}: {message:?} should contain {words:?}");
    }
    let versions = |version: &str| ModelSettings::from_modelfile(&parse(&format!("FROM x\nREQUIRES {version}")));
    for version in ["0.14.0", "v0.14", "1", "0.20.0-rc1", "1.2.3+build.5"] {
        assert_eq!(versions(version).expect(version).requires.as_deref(), Some(version.trim_start_matches('v')));
    }
    for version in ["new", "1.2.3.4", "01.2", "1.2-rc1", "1..2", "1.2.3-a b"] {
        assert!(matches!(versions(version), Err(ModelfileError::Version { .. })), "{version}");
    }
}

#[test]
fn ends_in_time_whatever_the_quotes() {
    let mut text = "FROM x\nSYSTEM \"\"\"".to_string();
    text.push_str(&"\n".repeat(2_000_000));
    assert!(matches!(refuse(&text), ModelfileError::OpenQuote { line: 2, .. }));
    assert!(matches!(Modelfile::parse(&vec![b'\n'; 17 << 20]), Err(ModelfileError::TooLong { .. })));
}

#[test]
fn prints_quotes_where_they_are_needed() {
    for (text, printed) in [
        ("plain", "SYSTEM plain\n"),
        ("two words # no comment", "SYSTEM two words # no comment\n"),
        ("a \"b\" c", "SYSTEM a \"b\" c\n"),
        (" blank in front", "SYSTEM \" blank in front\"\n"),
        ("two\nlines", "SYSTEM \"two\nlines\"\n"),
        ("two\n\"lines\"", "SYSTEM \"\"\"two\n\"lines\"\"\"\"\n"),
        ("\"quoted\"", "SYSTEM \"\"\"\"quoted\"\"\"\"\n"),
        ("", "SYSTEM \"\"\n"),
    ] {
        let modelfile = Modelfile { instructions: vec![system(text)] };
        assert_eq!(modelfile.print().expect(text), printed);
    }
    let modelfile = Modelfile { instructions: vec![system("a\"\"\" \nb")] };
    assert_eq!(modelfile.print(), Err(ModelfileError::Unprintable { instruction: "SYSTEM" }));
}

/// Every file of a folder of one's own, such as Modelfiles gathered from public repositories: what is read prints back and
/// reads equal again, and what is refused is refused at a line. `LAIR_TEST_MODELFILES` names the folder.
#[test]
fn a_folder_of_modelfiles_prints_back_equal() {
    let Some(folder) = std::env::var_os("LAIR_TEST_MODELFILES") else {
        eprintln!("SKIPPED: LAIR_TEST_MODELFILES names no folder of Modelfiles");
        return;
    };
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "Modelfile"));
    paths.sort();
    let (mut equal, mut refused) = (0, Vec::new());
    for path in &paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match Modelfile::parse(&std::fs::read(path).expect("a file")) {
            Ok(modelfile) => {
                let printed = modelfile.print().unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(parse(&printed), modelfile, "{name}");
                assert_eq!(parse(&printed).print().expect("printed before"), printed, "{name}");
                equal += 1;
            }
            Err(error) => refused.push(format!("{name}: {error}")),
        }
    }
    println!("{} files, {equal} print back equal, {} refused\n{}", paths.len(), refused.len(), refused.join("\n"));
    assert!(equal > refused.len(), "most of them are refused");
}

/// Files as `ollama show --modelfile` prints them; `modelfiles/README.md` says where their parts are from.
#[test]
fn published_modelfiles_print_back_equal() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/modelfiles");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is beside the test") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "Modelfile") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a file");
        let modelfile = parse(&text);
        let (_, body) = text.split_once("\n\n").expect("comments, an empty line, instructions");
        assert_eq!(modelfile.print().expect("printable"), body, "{}", path.display());

        let settings = ModelSettings::from_modelfile(&modelfile).expect("settings");
        let from: Vec<String> = modelfile.from().map(str::to_string).collect();
        let again = settings.to_modelfile(&from, |part| match part {
            Part::Written(path) => path.clone(),
            Part::Blob(digest) => digest.to_string(),
        });
        assert_eq!(ModelSettings::from_modelfile(&again).expect("settings"), settings, "{}", path.display());
        count += 1;
    }
    assert!(count >= 30, "{count} Modelfiles");
}

#[test]
fn parameters_keep_types_merge_by_name_and_write_what_ollama_writes() {
    let json = serde_json::json!({
        "temperature": 1, "num_ctx": 4096.0, "use_mmap": "true", "stop": "</s>", "top_k": "20",
        "low_vram": true, "of_tomorrow": {"a": [1]}
    });
    let base = Parameters::from_json(&json).expect("parameters");
    assert_eq!(base.real("temperature"), Some(1.0));
    assert_eq!(base.whole("num_ctx"), Some(4096));
    assert_eq!(base.whole("top_k"), Some(20));
    assert_eq!(base.switch("use_mmap"), Some(true));
    assert_eq!(base.without_effect().collect::<Vec<_>>(), ["low_vram", "of_tomorrow"]);
    assert!(matches!(base.get("of_tomorrow"), Some(ParameterValue::Unknown(_))));

    let mut over = Parameters::default();
    for (name, value) in [("stop", "<|im_start|>"), ("stop", "<|im_end|>"), ("temperature", "0.3")] {
        over.set(name, value).expect(name);
    }
    let sum = over.over(&base);
    assert_eq!(sum.stop(), ["<|im_start|>", "<|im_end|>"]);
    let expected = concat!(
        r#"{"low_vram":true,"num_ctx":4096,"of_tomorrow":{"a":[1]},"#,
        r#""stop":["\u003c|im_start|\u003e","\u003c|im_end|\u003e"],"temperature":0.3,"top_k":20,"use_mmap":true}"#,
        "\n"
    );
    assert_eq!(String::from_utf8(sum.to_layer()).expect("UTF-8"), expected);

    for wrong in [r#"{"temperature":"hot"}"#, r#"{"num_ctx":4096.5}"#, r#"{"stop":[1]}"#, r#"{"use_mmap":1}"#, "[]"] {
        let json: serde_json::Value = serde_json::from_str(wrong).expect("json");
        assert!(matches!(Parameters::from_json(&json), Err(ModelfileError::ParameterValue { .. })), "{wrong}");
    }
}

/// Texts with everything that quoting could stumble over.
fn texts() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("\"".to_string()),
            Just("\"\"\"".to_string()),
            Just(" ".to_string()),
            Just("\t".to_string()),
            Just("\n".to_string()),
            Just("\r\n".to_string()),
            Just("#".to_string()),
            Just("FROM x".to_string()),
            Just("\u{a0}".to_string()),
            Just("é{{ .System }}".to_string()),
            "[a-z]{1,3}",
        ],
        0..8,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn what_is_printed_reads_back_equal(
        system_text in texts(), template in texts(), content in texts(), license in texts(), stop in texts()
    ) {
        let message = Message { role: "assistant".to_string(), content };
        let modelfile = Modelfile { instructions: vec![
            from("./a model.gguf"), system(&system_text), Instruction::Template(template), Instruction::Message(message),
            parameter("stop", &stop), Instruction::License(license),
        ] };
        if let Ok(printed) = modelfile.print() {
            prop_assert_eq!(Modelfile::parse(printed.as_bytes()).expect(&printed), modelfile);
        }
    }

    #[test]
    fn what_is_read_can_be_printed_and_reads_back_equal(parts in proptest::collection::vec(texts(), 0..6)) {
        let text = format!("FROM x\nSYSTEM {}", parts.join("\nTEMPLATE "));
        if let Ok(modelfile) = Modelfile::parse(text.as_bytes()) {
            let printed = modelfile.print().expect("a text that was read has quotes that hold it");
            prop_assert_eq!(Modelfile::parse(printed.as_bytes()).expect(&printed), modelfile);
        }
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Modelfile::parse(&bytes);
    }
}

/// Constructs of published Modelfiles, each reduced to what it shows.
#[test]
fn published_constructs_parse_and_print_back_equal() {
    let message = |role: &str, content: &str| {
        Instruction::Message(Message { role: role.to_string(), content: content.to_string() })
    };
    for (text, expected) in [
        ("# a title\n\nfrom llama3.2:3b\nsystem \"Be brief.\"\n", vec![from("llama3.2:3b"), system("Be brief.")]),
        ("FROM x\nSYSTEM \"\"\"\nline\n\nline\n\"\"\"\n", vec![from("x"), system("\nline\n\nline\n")]),
        ("FROM x\nSYSTEM \"\"\"line\nline\"\"\" \n", vec![from("x"), system("line\nline")]),
        (
            "FROM x\nMESSAGE user \"\"\"{\n \"a\": 1\n}\"\"\"\nMESSAGE assistant Yes: no.\n",
            vec![from("x"), message("user", "{\n \"a\": 1\n}"), message("assistant", "Yes: no.")],
        ),
        (
            "FROM ./m.gguf\nPARAMETER stop \"<|im_end|>\"\nPARAMETER stop <|im_end|>\nPARAMETER stop \"User: \"\n",
            vec![
                from("./m.gguf"),
                parameter("stop", "<|im_end|>"),
                parameter("stop", "<|im_end|>"),
                parameter("stop", "User: "),
            ],
        ),
        (
            "FROM ./a b.gguf\nFROM ./mmproj.gguf\nPARAMETER num_predict -1\nPARAMETER f16_kv true\nPARAMETER mirostat 2\n",
            vec![
                from("./a b.gguf"),
                from("./mmproj.gguf"),
                parameter("num_predict", "-1"),
                parameter("f16_kv", "true"),
                parameter("mirostat", "2"),
            ],
        ),
        (
            "FROM C:\\Users\\me\\.ollama\\models\\blobs\\sha256-00\nLICENSE \"\"\"A\nB\"\"\"\nLICENSE MIT\n",
            vec![
                from("C:\\Users\\me\\.ollama\\models\\blobs\\sha256-00"),
                Instruction::License("A\nB".to_string()),
                Instruction::License("MIT".to_string()),
            ],
        ),
        (
            "FROM x\nPARAMETER stop [\"<a>\", \"<b>\"]\nPARAMETER temperature .7\n",
            vec![from("x"), parameter("stop", "[\"<a>\", \"<b>\"]"), parameter("temperature", ".7")],
        ),
    ] {
        let parsed = Modelfile::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(parsed.instructions, expected, "{text}");
        let printed = parsed.print().expect("printable");
        assert_eq!(Modelfile::parse(printed.as_bytes()).expect("its own words"), parsed, "{printed}");
    }
}

/// What is published too, and Ollama's parser refuses as well.
#[test]
fn published_mistakes_are_refused_with_advice() {
    for (text, words, advice) in [
        (
            "FROM x\nPARAMETER temperature 0.2 # low",
            "line 2: parameter `temperature` is `0.2 # low`",
            "a line of its own",
        ),
        ("FROM x\nPARAMETER num_ctx 4096   # Larger", "expected a whole number", "a line of its own"),
        ("FROM x\nPARAMETER stop \"<a>\" # end", "text begins with \" that nothing ends", "at the end of a line"),
        ("FROM x\nSYSTEM \'\'\'one\ntwo\'\'\'", "`two\'\'\'` is not an instruction", "between `\"\"\"`"),
        ("FROM x\nPARAMETER think false", "`think` is not a parameter", "lists the parameters"),
    ] {
        let error = Modelfile::parse(text.as_bytes()).expect_err(text);
        assert!(error.to_string().contains(words), "{text}: {error}");
        assert!(error.hint().is_some_and(|hint| hint.contains(advice)), "{text}: {:?}", error.hint());
    }
}
