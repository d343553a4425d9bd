//! Where a model file keeps its templates.

/// A template under a name of its own: `tool_use`, `rag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VariantTemplate<'m> {
    /// Its name.
    pub name: &'m str,
    /// Its source.
    pub source: &'m str,
}

/// The template sources found in the metadata of a model file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateSources<'m> {
    /// `tokenizer.chat_template`
    pub default: Option<&'m str>,
    /// `tokenizer.chat_template.NAME` for each NAME in `tokenizer.chat_templates`.
    pub variants: Vec<VariantTemplate<'m>>,
}

impl<'m> TemplateSources<'m> {
    /// Reads the sources: `names` are the elements of `tokenizer.chat_templates`, `lookup` gives the string of a key.
    /// A name without a template is left out.
    pub fn from_metadata<'n>(
        names: impl IntoIterator<Item = &'n str>,
        lookup: impl Fn(&str) -> Option<&'m str>,
    ) -> TemplateSources<'m>
    where
        'n: 'm,
    {
        let variants = names.into_iter().filter_map(|name| {
            let source = lookup(&format!("tokenizer.chat_template.{name}"))?;
            Some(VariantTemplate { name, source })
        });
        TemplateSources { default: lookup("tokenizer.chat_template"), variants: variants.collect() }
    }

    /// The source for a conversation: the variant `tool_use` if tools are given and there is one, else the default,
    /// else the variant named `default`, else the only variant.
    pub fn choose(&self, has_tools: bool) -> Option<&'m str> {
        let variant = |name: &str| self.variants.iter().find(|variant| variant.name == name).map(|found| found.source);
        let for_tools = if has_tools { variant("tool_use") } else { None };
        let only = || match self.variants.as_slice() {
            [only] => Some(only.source),
            _ => None,
        };
        for_tools.or(self.default).or_else(|| variant("default")).or_else(only)
    }
}

#[cfg(test)]
mod tests {
    use super::TemplateSources;

    #[test]
    fn finds_and_chooses_templates() {
        let lookup = |key: &str| match key {
            "tokenizer.chat_template" => Some("plain"),
            "tokenizer.chat_template.tool_use" => Some("with tools"),
            _ => None,
        };
        let sources = TemplateSources::from_metadata(["tool_use", "rag"], lookup);
        assert_eq!(sources.variants.len(), 1);
        assert_eq!(sources.choose(true), Some("with tools"));
        assert_eq!(sources.choose(false), Some("plain"));
        let sources = TemplateSources::from_metadata([], lookup);
        assert_eq!(sources.choose(true), Some("plain"));
        assert_eq!(TemplateSources::default().choose(false), None);
    }
}
