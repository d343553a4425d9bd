//! Stop strings: where an answer ends although the model would go on.

use super::overlap;

/// Looks for stop strings in a text that comes in pieces.
#[derive(Clone, Debug, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
    found: Option<usize>,
}

impl StopMatcher {
    /// A matcher of these strings; empty ones are none.
    pub fn new(stops: &[String]) -> StopMatcher {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        StopMatcher { stops, ..StopMatcher::default() }
    }

    /// Whether a stop string was found; nothing follows it.
    pub fn has_stopped(&self) -> bool {
        self.found.is_some()
    }

    /// The stop string that was found.
    pub fn found(&self) -> Option<&str> {
        self.found.map(|index| self.stops[index].as_str())
    }

    /// Takes the next piece and gives what can be shown. Of several stop strings the one that begins first ends the text.
    pub fn push(&mut self, piece: &str) -> String {
        if self.has_stopped() || self.stops.is_empty() {
            return if self.has_stopped() { String::new() } else { piece.to_owned() };
        }
        self.held.push_str(piece);
        let starts = self.stops.iter().enumerate().filter_map(|(index, stop)| Some((self.held.find(stop)?, index)));
        if let Some((start, index)) = starts.min() {
            self.found = Some(index);
            self.held.truncate(start);
            return std::mem::take(&mut self.held);
        }
        let kept = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - kept);
        std::mem::replace(&mut self.held, rest)
    }

    /// What was held back when the text ends by itself.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stops: &[&str], text: &str, expected: &str, has_stopped: bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let characters: Vec<char> = text.chars().collect();
        for step in 1..=characters.len().max(1) {
            let mut matcher = StopMatcher::new(&stops);
            let mut found: String =
                characters.chunks(step).map(|piece| matcher.push(&piece.iter().collect::<String>())).collect();
            assert_eq!(matcher.has_stopped(), has_stopped, "{text} in pieces of {step}");
            found.push_str(&matcher.finish());
            assert_eq!(found, expected, "{text} in pieces of {step}");
        }
    }

    #[test]
    fn ends_before_the_first_stop_string_however_the_text_is_cut() {
        check(&[], "abc", "abc", false);
        check(&[""], "abc", "abc", false);
        check(&["User:"], "Hi. User: more", "Hi. ", true);
        check(&["User:"], "Hi. User", "Hi. User", false);
        check(&["aab"], "aaab!", "a", true);
        check(&["→ende", "é"], "ja →end é", "ja →end ", true);
        check(&["\n\n"], "one\ntwo\n\nthree", "one\ntwo", true);
        check(&["x"], "x", "", true);
    }

    #[test]
    fn shows_at_once_what_can_be_no_stop_string() {
        let mut matcher = StopMatcher::new(&["<end>".to_owned()]);
        assert_eq!(matcher.push("a <e"), "a ");
        assert_eq!(matcher.push("l"), "<el");
        assert_eq!(matcher.push("<end> and more"), "");
        assert_eq!(matcher.push("even more"), "");
        assert_eq!(matcher.found(), Some("<end>"));
    }
}
