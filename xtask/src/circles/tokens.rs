//! Splits Rust source into the tokens that matter for names and paths.

/// One token. Comments, numbers, characters and lifetimes are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// An identifier or keyword.
    Name(String),
    /// A string literal, without its quotes.
    Text(String),
    /// `::`
    Separator,
    /// Any other character.
    Sign(char),
}

impl Token {
    /// The identifier or keyword, if it is one.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            _ => None,
        }
    }
}

/// Splits a source text into tokens.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source, tokens: Vec::new() };
    while lexer.step() {}
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    tokens: Vec<Token>,
}

fn is_start(character: char) -> bool {
    character == '_' || character.is_alphabetic()
}

fn is_part(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

impl<'a> Lexer<'a> {
    /// Takes this many bytes.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    /// Takes characters as long as they match.
    fn take_while(&mut self, is: impl Fn(char) -> bool) -> &'a str {
        self.take(self.rest.find(|character| !is(character)).unwrap_or(self.rest.len()))
    }

    /// Takes everything up to this text, and skips the text.
    fn take_past(&mut self, end: &str) -> &'a str {
        let length = self.rest.find(end).unwrap_or(self.rest.len());
        let taken = self.take(length);
        self.take(end.len());
        taken
    }

    /// Reads one token, or skips what is between tokens. Returns false at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if self.rest.starts_with("//") {
            self.take_past("\n");
        } else if self.rest.starts_with("/*") {
            self.skip_comment();
        } else if self.rest.starts_with("::") {
            self.take(2);
            self.tokens.push(Token::Separator);
        } else if is_start(first) {
            self.word();
        } else if first.is_ascii_digit() {
            self.take_while(is_part);
        } else if first == '"' {
            self.take(1);
            self.text();
        } else if first == '\'' {
            self.skip_quote();
        } else {
            self.take(first.len_utf8());
            if !first.is_whitespace() {
                self.tokens.push(Token::Sign(first));
            }
        }
        true
    }

    /// Skips a block comment, which may contain others.
    fn skip_comment(&mut self) {
        let mut depth = 0;
        loop {
            if self.rest.starts_with("/*") {
                self.take(2);
                depth += 1;
            } else if self.rest.starts_with("*/") {
                self.take(2);
                depth -= 1;
            } else if let Some(character) = self.rest.chars().next() {
                self.take(character.len_utf8());
            } else {
                return;
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Reads an identifier, or a literal with a prefix.
    fn word(&mut self) {
        let word = self.take_while(is_part);
        let is_raw = matches!(word, "r" | "br" | "cr");
        if is_raw && self.rest.starts_with(['"', '#']) {
            let hashes = self.take_while(|character| character == '#');
            if self.rest.starts_with('"') {
                self.take(1);
                let text = self.take_past(&format!("\"{hashes}"));
                self.tokens.push(Token::Text(text.to_owned()));
            }
            // Otherwise it was the prefix of a raw identifier.
        } else if matches!(word, "b" | "c") && self.rest.starts_with('"') {
            self.take(1);
            self.text();
        } else if word == "b" && self.rest.starts_with('\'') {
            self.skip_quote();
        } else {
            self.tokens.push(Token::Name(word.to_owned()));
        }
    }

    /// Reads a string literal after its first quote.
    fn text(&mut self) {
        let mut escaped = false;
        let end = self.rest.find(|character| {
            let is_end = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            is_end
        });
        let text = self.take(end.unwrap_or(self.rest.len()));
        self.take(1);
        self.tokens.push(Token::Text(text.to_owned()));
    }

    /// Skips a character literal, lifetime or label.
    fn skip_quote(&mut self) {
        self.take(1);
        let mut characters = self.rest.chars();
        match (characters.next(), characters.next()) {
            (Some('\\'), _) => {
                // The escaped character may be a quote.
                self.take(1);
                self.take(self.rest.chars().next().map_or(0, char::len_utf8));
                self.take_past("'");
            }
            (Some(character), Some('\'')) => {
                self.take(character.len_utf8() + 1);
            }
            _ => {
                self.take_while(is_part);
            }
        }
    }
}
