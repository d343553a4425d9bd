//! The one list of pre-tokenizers that a GGUF file may name in `tokenizer.ggml.pre`.
//!
//! Names, expressions and the options that go with a name are those of llama.cpp (`src/llama-vocab.cpp`). Where it
//! approximates the expression a model was published with, because its engine lacks a Unicode class, the published
//! expression is used (o200k, Tekken, Kimi K2, Tiny Aya, the digit groups of AFMoE and SuperBPE).

use super::split::Pattern::{self, DigitGroups, DropWhitespace, Isolate, Words, WordsThenPowers};

/// One pre-tokenizer, and what its name says about the rest of the tokenizer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PreTokenizer {
    /// Its names, as files spell them.
    pub(crate) names: &'static [&'static str],
    /// How it splits.
    pub(crate) patterns: &'static [Pattern],
    /// Words that are tokens are taken as they stand.
    pub(crate) takes_whole_words: bool,
    /// Text begins with the beginning-of-text token unless the file says otherwise.
    pub(crate) adds_bos: bool,
    /// The vocabulary is written in characters with U+2581 for a space, not in bytes.
    pub(crate) escapes_spaces: bool,
}

impl PreTokenizer {
    const PLAIN: Self =
        Self { names: &[], patterns: &[], takes_whole_words: false, adds_bos: false, escapes_spaces: false };

    const fn new(names: &'static [&'static str], patterns: &'static [Pattern]) -> Self {
        Self { names, patterns, ..Self::PLAIN }
    }

    const fn taking_whole_words(self) -> Self {
        Self { takes_whole_words: true, ..self }
    }

    const fn adding_bos(self) -> Self {
        Self { adds_bos: true, ..self }
    }

    const fn escaping_spaces(self) -> Self {
        Self { escapes_spaces: true, ..self }
    }
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+";
const LLAMA3: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
const QWEN35: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+";
/// The words of OpenAI's o200k: upper case then lower case, with a contraction.
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+";
const YOUTU: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+";
/// Hangul, full-width punctuation, Bopomofo, and ideographs with kana, each apart.
const YOUTU_SCRIPTS: &str = r"[\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}\x{FF1B}\x{FF0C}\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+|[\x{3105}-\x{312F}]+|[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+";
/// o200k with runs of Han apart.
const KIMI_K2: &str = r"\p{Han}+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+"##;
const SPARK25: &str =
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]"##;
/// Chinese ideographs and Japanese syllables.
const CJK_AND_KANA: &str = r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+";
/// The scripts of East and South-East Asia that AFMoE sets apart.
const AFMOE_ASIAN: &str = r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{F900}-\x{FAFF}\x{3040}-\x{309F}\x{30A0}-\x{30FF}\x{FF65}-\x{FF9F}\x{2F00}-\x{2FDF}\x{0E40}-\x{0E7F}\x{0E80}-\x{0EFF}\x{1780}-\x{17FF}\x{1000}-\x{109F}\x{AA60}-\x{AA7F}\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+";
/// Letters of alphabets, without those of scripts that have no case.
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-z\x{00B5}\x{00C0}-\x{00D6}\x{00D8}-\x{00F6}\x{00F8}-\x{01BA}\x{01BC}-\x{01BF}\x{01C4}-\x{0293}\x{0295}-\x{02AF}\x{0370}-\x{0373}\x{0376}\x{0377}\x{037B}-\x{037D}\x{037F}\x{0386}\x{0388}-\x{038A}\x{038C}\x{038E}-\x{03A1}\x{03A3}-\x{03F5}\x{03F7}-\x{0481}\x{048A}-\x{052F}\x{0531}-\x{0556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}]+";
const DEEPSEEK_PUNCTUATION: &str = r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+";
/// Ideographs, and the ranges DeepSeek writes beside them (as they stand in its tokenizer).
const DEEPSEEK_IDEOGRAPHS: &str = r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+";
const BLOOM: &str = r" ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{0964}\x{06D4}\x{060C})]+";

/// Every pre-tokenizer. A name stands in one row only.
pub(crate) const ALL: &[PreTokenizer] = &[
    PreTokenizer::new(
        &["default"],
        &[Isolate(r"[\p{P}\$\+<=>\^~\|]+"), Words(GPT2), Isolate(r"\p{N}+"), Isolate("[0-9][0-9][0-9]")],
    ),
    PreTokenizer::new(
        &["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
        &[Words(LLAMA3)],
    )
    .taking_whole_words()
    .adding_bos(),
    PreTokenizer::new(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[Words(LLAMA3)]),
    PreTokenizer::new(&["glm4", "glm5"], &[Words(LLAMA3)]).taking_whole_words(),
    PreTokenizer::new(&["jais-2"], &[WordsThenPowers(LLAMA3)]),
    PreTokenizer::new(
        &["deepseek-llm"],
        &[
            Isolate(r"[\r\n]"),
            Isolate(DEEPSEEK_LETTERS),
            Isolate(DEEPSEEK_PUNCTUATION),
            Isolate(r"\s+$"),
            Isolate(DEEPSEEK_IDEOGRAPHS),
            Isolate(r"\p{N}+"),
        ],
    ),
    PreTokenizer::new(
        &["deepseek-coder"],
        &[
            Isolate(r"[\r\n]"),
            Isolate(r"\s?\p{L}+"),
            Isolate(r"\s?\p{P}+"),
            Isolate(DEEPSEEK_IDEOGRAPHS),
            Isolate(r"\p{N}"),
        ],
    ),
    PreTokenizer::new(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[Isolate(r"\p{N}{1,3}"), Isolate(CJK_AND_KANA), Words(DEEPSEEK3)],
    ),
    PreTokenizer::new(
        &["spark2_5"],
        &[Isolate(r"\p{N}{1,3}"), Isolate(CJK_AND_KANA), Words(SPARK25), Isolate(r"\p{N}")],
    ),
    PreTokenizer::new(&["youtu"], &[Isolate(YOUTU_SCRIPTS), Words(YOUTU)]).taking_whole_words(),
    PreTokenizer::new(&["falcon"], &[Isolate(r"[\p{P}\$\+<=>\^~\|`]+"), Words(GPT2), Isolate("[0-9][0-9][0-9]")]),
    PreTokenizer::new(
        &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[Isolate(r"\p{N}"), Words(GPT2)],
    ),
    PreTokenizer::new(
        &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
        ],
        &[Words(GPT2)],
    ),
    PreTokenizer::new(
        &["stablelm2", "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "hunyuan", "solar-open", "grok-2"],
        &[Words(QWEN2)],
    ),
    PreTokenizer::new(&["qwen35"], &[Words(QWEN35)]),
    PreTokenizer::new(&["laguna"], &[Isolate(r"\n+"), Words(QWEN2)]),
    PreTokenizer::new(&["ufakzeka"], &[Words(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+")]),
    PreTokenizer::new(
        &["minicpm5"],
        &[
            Isolate(r"\p{N}{1,3}"),
            Words(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"),
        ],
    )
    .taking_whole_words(),
    PreTokenizer::new(
        &["seed-coder"],
        &[Words(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+")],
    ),
    PreTokenizer::new(
        &["bailingmoe", "bailingmoe2", "llada-moe"],
        &[Words(r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]")],
    ),
    PreTokenizer::new(
        &["exaone-moe"],
        &[Words(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]",
        )],
    ),
    PreTokenizer::new(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[Words(O200K)]),
    PreTokenizer::new(&["granite-embed-multi-97m"], &[Words(O200K)]).taking_whole_words(),
    PreTokenizer::new(&["tiny_aya", "cohere2moe"], &[DigitGroups { to_word_end: true }, Words(O200K)]),
    PreTokenizer::new(&["tekken"], &[Words(TEKKEN)]).taking_whole_words().adding_bos(),
    PreTokenizer::new(&["kimi-k2"], &[Words(KIMI_K2)]),
    PreTokenizer::new(&["superbpe"], &[Isolate(r"\p{N}+"), DigitGroups { to_word_end: false }]),
    PreTokenizer::new(&["afmoe"], &[DigitGroups { to_word_end: false }, Isolate(AFMOE_ASIAN), Words(DEEPSEEK3)]),
    PreTokenizer::new(&["poro-chat", "bloom", "gpt3-finnish"], &[Isolate(BLOOM)]),
    PreTokenizer::new(&["viking"], &[Isolate(BLOOM), Isolate(r"\p{N}")]),
    PreTokenizer::new(
        &["chameleon"],
        &[
            Isolate("<sentinel:[0-9]+>"),
            Isolate("IMGIMG[A-I]{1,4}Z"),
            Isolate(r"[\t\n]|    |  "),
            Isolate(r"\p{N}"),
            Isolate(r"[\p{P}!-/:-@\[-`{-~]"),
            Words(GPT2),
        ],
    )
    .adding_bos(),
    PreTokenizer::new(&["gemma4", "granite-embed-multi-311m", "sarvam-moe"], &[Isolate(r"\n+")]).escaping_spaces(),
    PreTokenizer::new(&["whitespace"], &[DropWhitespace]),
];

/// The pre-tokenizer called `name`.
pub(crate) fn find(name: &str) -> Option<&'static PreTokenizer> {
    ALL.iter().find(|row| row.names.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::super::split::Splitter;
    use super::*;

    /// Every name that converters write.
    const NAMES: &str = "default llama3 llama-v3 llama-bpe falcon falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano \
        deepseek-llm deepseek-coder deepseek-v3 spark2_5 youtu mpt starcoder gpt-2 phi-2 jina-es jina-de gigachat \
        jina-v2-es jina-v2-de jina-v2-code jina-v1-en a.x-4.0 mellum mellum2 modern-bert jais jais-2 gemma4 \
        granite-embed-multi-311m granite-embed-multi-97m sarvam-moe roberta-bpe whitespace refact command-r qwen2 \
        qwen35 deepseek-r1-qwen kormo f2llmv2 stablelm2 olmo dbrx smaug-bpe poro-chat chatglm-bpe glm4 glm5 viking \
        tekken smollm codeshell bloom gpt3-finnish exaone exaone4 exaone-moe chameleon minerva-7b megrez gpt-4o llama4 \
        kanana2 talkie tiny_aya cohere2moe superbpe trillion granite-docling bailingmoe bailingmoe2 llada-moe \
        seed-coder hunyuan hunyuan-dense hy_v4 joyai-llm kimi-k2 ufakzeka grok-2 afmoe laguna minimax-m2 minicpm5 \
        solar-open";

    #[test]
    fn every_name_is_known_once_and_compiles() {
        for name in NAMES.split_whitespace() {
            let rows: Vec<_> = ALL.iter().filter(|row| row.names.contains(&name)).collect();
            assert_eq!(rows.len(), 1, "{name}");
        }
        assert_eq!(ALL.iter().map(|row| row.names.len()).sum::<usize>(), NAMES.split_whitespace().count());
        for row in ALL {
            Splitter::from_patterns(row.patterns).unwrap_or_else(|error| panic!("{:?}: {error}", row.names));
        }
    }

    fn split(name: &str, text: &str) -> String {
        let splitter = Splitter::from_patterns(find(name).expect(name).patterns).expect(name);
        let mut words = Vec::new();
        splitter.split(text, &mut |word| words.push(word.to_owned()));
        words.join("|")
    }

    /// What each published expression gives on text that tells it apart from its neighbours.
    #[test]
    fn splits_are_those_of_the_published_expressions() {
        let cases = [
            ("gpt-2", "I'll  pay 1234$ \n\nnow ", "I|'ll| | pay| 1234|$| \n|\n|now| "),
            ("llama-bpe", "I'LL  pay 1234$ \n\nnow ", "I|'LL| | pay| |123|4|$| \n\n|now| "),
            ("qwen2", "(x) 12\n\n  y", "(x|)| |1|2|\n\n| | y"),
            ("qwen35", "ne\u{301}e", "ne\u{301}e"),
            ("qwen2", "ne\u{301}e", "ne|\u{301}e"),
            ("smollm", "a 12", "a| |1|2"),
            ("gpt-4o", "HelloWorld's приветМир a//\n", "Hello|World's| привет|Мир| a|//\n"),
            ("tekken", "HelloWorld's 12", "Hello|World|'s| |1|2"),
            ("kimi-k2", "中文Hello中文 abc's", "中文|Hello|中文| abc's"),
            ("superbpe", "by 1234567 words", "by |1|234|567| words"),
            ("afmoe", "a 1234567b中文x", "a| |1|234|567|b|中文|x"),
            ("tiny_aya", "a 1234567 12345x", "a| |1|234|567| |123|45|x"),
            ("deepseek-v3", "日本1234 .foo (a)\n", "日本|123|4| .|foo| (|a|)\n"),
            ("deepseek-coder", "x=1 中文 a\n", "x|=|1| |中文| a|\n"),
            ("falcon", "12345 a`b", "123|45| a|`|b"),
            ("bloom", "a, b (c) d", "a|,| b| (|c|)| d"),
            ("viking", "a1 b2", "a|1| b|2"),
            ("chameleon", "a  b12!IMGIMGAZ", "a|  |b|1|2|!|IMGIMGAZ"),
            ("gemma4", "a b\n\nc", "a b|\n\n|c"),
            ("laguna", "a\n\n b\n", "a|\n\n| b|\n"),
            ("whitespace", " a  b\n", "a|b"),
            ("exaone-moe", "ab cd 12//\n\n", "ab cd| |1|2|//\n|\n"),
            ("youtu", "한국어 abc，中文", "한국어| abc|，|中文"),
            ("minicpm5", "a 12345", "a| |123|45"),
            ("jais-2", "a     b", "a|    | b"),
        ];
        for (name, text, expected) in cases {
            assert_eq!(split(name, text), expected, "{name} on {text:?}");
        }
    }
}
