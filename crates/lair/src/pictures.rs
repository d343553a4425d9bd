//! Paths of pictures and sounds in a prompt, which no model here can look at yet.

use std::path::Path;

use crate::failure::{ExitCode, Failure};

/// What ends the names of files that Ollama would attach to a prompt.
const ENDINGS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "wav"];

/// What may follow a path without being part of it.
const SENTENCE_ENDS: [char; 7] = ['.', ',', ';', ':', '?', '!', ')'];

/// Refuses a prompt that names a picture: the model would be asked about what it has not seen.
///
/// A word is a picture if it is a path (it has a separator), ends like one and exists. Spaces in it are written `\ `, or
/// the path stands in quotes.
///
/// # Errors
/// Names the file.
pub fn refuse_pictures(prompt: &str) -> Result<(), Failure> {
    let words = words(prompt);
    let is_found = |word: &&str| is_picture(word);
    let Some(path) = words.iter().map(|word| word.trim_end_matches(SENTENCE_ENDS)).find(is_found) else {
        return Ok(());
    };
    let cause = format!("`{path}` is a picture or a sound: models get text only so far");
    let hint = "to speak about the file's name only, leave out the folder".to_owned();
    Err(Failure::new(ExitCode::Usage, cause).with_hint(hint))
}

fn is_picture(word: &str) -> bool {
    let path = Path::new(word);
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    word.contains(['/', '\\']) && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) && path.is_file()
}

/// Words at white space, quotes and `\ ` holding them together.
pub fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&' ') => word.extend(characters.next()),
            '"' | '\'' if quote == Some(character) => {
                words.push(std::mem::take(&mut word));
                quote = None;
            }
            // An apostrophe within a word is none.
            '"' | '\'' if quote.is_none() && word.is_empty() => quote = Some(character),
            _ if character.is_whitespace() && quote.is_none() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(character),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes_hold_words_together() {
        assert_eq!(words("it's  a 'b c' \"d e\" f\\ g \"\""), ["it's", "a", "b c", "d e", "f g", ""]);
        assert_eq!(words("'open end"), ["open end"]);
    }

    #[test]
    fn only_pictures_that_are_there_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, b"x").expect("written");
            path.display().to_string()
        };
        let (picture, spaced, text) = (write("a.PNG"), write("b c.jpg"), write("d.txt"));
        for prompt in [format!("what is {picture}"), format!("what is {}?", spaced.replace(' ', "\\ ")), text] {
            let is_refused = refuse_pictures(&prompt).is_err();
            assert_eq!(is_refused, !prompt.ends_with(".txt"), "{prompt}");
        }
        assert!(refuse_pictures(&format!("\"{spaced}\" and more")).is_err());
        assert!(refuse_pictures("what is in /no/such/folder/e.png or f.png").is_ok());
    }
}
