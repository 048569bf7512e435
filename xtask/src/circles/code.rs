//! Parses the code of a module: what it declares, imports, defines and names.

use std::collections::BTreeSet;

use super::tokens::Token;

/// The code of a module.
#[derive(Default)]
pub(super) struct Code {
    pub(super) children: Vec<Child>,
    pub(super) bindings: Vec<Binding>,
    /// The names that are defined here, those of methods included.
    pub(super) items: BTreeSet<String>,
    /// The paths of more than one name, except those in `use`.
    pub(super) paths: Vec<Vec<String>>,
    /// All names, except those in `use`.
    pub(super) names: BTreeSet<String>,
}

/// A module that is declared.
pub(super) struct Child {
    pub(super) name: String,
    /// The value of its attribute `path`.
    pub(super) path: Option<String>,
    /// Its code, if it is inline.
    pub(super) code: Option<Code>,
}

/// A name that `use` imports.
pub(super) struct Binding {
    /// `None` for a glob.
    pub(super) name: Option<String>,
    pub(super) path: Vec<String>,
    /// Whether it is `pub`, to any extent.
    pub(super) is_public: bool,
}

/// Reads the code of a module.
pub(super) fn parse(tokens: &[Token]) -> Code {
    let mut code = Code::default();
    let mut cursor = Cursor { rest: tokens };
    let (mut path_attribute, mut is_public) = (None, false);
    while let Some(token) = cursor.next() {
        match token {
            Token::Sign('#') => match cursor.attribute() {
                Attribute::Path(path) => path_attribute = Some(path),
                Attribute::Test => cursor.skip_item(),
                Attribute::Other => {}
            },
            // A path to another crate, or the rest of one that begins with a type.
            Token::Separator => cursor.skip_path(),
            // A variable of a macro. `$crate` is read as `crate`.
            Token::Sign('$') if cursor.name() != Some("crate") => cursor.skip_path(),
            Token::Name(name) => match name.as_str() {
                "pub" => {
                    is_public = true;
                    cursor.group('(', ')');
                    continue;
                }
                "use" => cursor.tree(&[], is_public, &mut code.bindings),
                "mod" => {
                    if let Some(name) = cursor.take_name() {
                        let inline = cursor.group('{', '}').map(parse);
                        code.children.push(Child { name: name.to_owned(), path: path_attribute.take(), code: inline });
                    }
                }
                "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" | "macro_rules" => {
                    if name == "macro_rules" {
                        cursor.next();
                    }
                    code.items.extend(cursor.name().map(str::to_owned));
                }
                _ => {
                    let path = cursor.path(name);
                    if !matches!(name.as_str(), "crate" | "self" | "super") {
                        code.names.insert(name.clone());
                    }
                    if path.len() > 1 {
                        code.paths.push(path);
                    }
                }
            },
            _ => {}
        }
        is_public = false;
    }
    code
}

enum Attribute {
    /// `path = "…"`
    Path(String),
    /// `cfg(test)`, or `cfg(all(test, …))`
    Test,
    Other,
}

struct Cursor<'a> {
    rest: &'a [Token],
}

impl<'a> Cursor<'a> {
    fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The next token, if it is a name.
    fn name(&self) -> Option<&'a str> {
        self.rest.first().and_then(Token::name)
    }

    fn take_name(&mut self) -> Option<&'a str> {
        let name = self.name()?;
        self.next();
        Some(name)
    }

    fn take_sign(&mut self, sign: char) -> bool {
        let is_next = self.rest.first() == Some(&Token::Sign(sign));
        if is_next {
            self.next();
        }
        is_next
    }

    /// Takes a group in these brackets, if the opening one is next.
    fn group(&mut self, open: char, close: char) -> Option<&'a [Token]> {
        if !self.take_sign(open) {
            return None;
        }
        let inner = self.rest;
        let mut depth = 1;
        while let Some(token) = self.next() {
            if *token == Token::Sign(open) {
                depth += 1;
            } else if *token == Token::Sign(close) {
                depth -= 1;
            }
            if depth == 0 {
                break;
            }
        }
        inner.get(..inner.len() - self.rest.len() - usize::from(depth == 0))
    }

    /// Takes the rest of the path that begins with this name.
    fn path(&mut self, first: &str) -> Vec<String> {
        let mut path = vec![first.to_owned()];
        while let [Token::Separator, Token::Name(name), rest @ ..] = self.rest {
            path.push(name.clone());
            self.rest = rest;
        }
        path
    }

    fn skip_path(&mut self) {
        if let Some(first) = self.take_name() {
            self.path(first);
        }
    }

    /// Takes an attribute after its `#`.
    fn attribute(&mut self) -> Attribute {
        self.take_sign('!');
        let attribute = self.group('[', ']').unwrap_or_default();
        if let [Token::Name(name), Token::Sign('='), Token::Text(path)] = attribute
            && name == "path"
        {
            return Attribute::Path(path.clone());
        }
        let names: Vec<&str> = attribute.iter().filter_map(Token::name).collect();
        match names[..] {
            ["cfg", "test"] => Attribute::Test,
            ["cfg", "all", ref all @ ..] if all.contains(&"test") && !all.contains(&"not") => Attribute::Test,
            _ => Attribute::Other,
        }
    }

    /// Skips an item: up to its semicolon, or its block in braces.
    fn skip_item(&mut self) {
        let is_use = loop {
            match self.rest.first() {
                Some(Token::Sign('#')) => {
                    self.next();
                    self.attribute();
                }
                Some(Token::Name(name)) if name == "pub" => {
                    self.next();
                    self.group('(', ')');
                }
                first => break matches!(first, Some(Token::Name(name)) if name == "use"),
            }
        };
        loop {
            if self.group('(', ')').is_some() || self.group('[', ']').is_some() {
                continue;
            }
            if self.group('{', '}').is_some() {
                if is_use {
                    continue;
                }
                return;
            }
            if matches!(self.next(), None | Some(Token::Sign(';' | '}'))) {
                return;
            }
        }
    }

    /// Takes a `use` tree and adds the names that it imports. A path begins with an empty
    /// name if it belongs to another crate, or to a variable of a macro.
    fn tree(&mut self, above: &[String], is_public: bool, bindings: &mut Vec<Binding>) {
        let mut path = above.to_vec();
        let mut name = None;
        loop {
            match self.rest {
                [Token::Name(part), rest @ ..] => {
                    self.rest = rest;
                    match part.as_str() {
                        "as" => name = self.take_name().map(str::to_owned),
                        "self" if !path.is_empty() => {}
                        _ => path.push(part.clone()),
                    }
                }
                [Token::Separator, rest @ ..] => {
                    self.rest = rest;
                    if path.is_empty() {
                        path.push(String::new());
                    }
                }
                [Token::Sign('$'), rest @ ..] => {
                    self.rest = rest;
                    if self.name() != Some("crate") {
                        path.push(String::new());
                    }
                }
                [Token::Sign('*'), rest @ ..] => {
                    self.rest = rest;
                    bindings.push(Binding { name: None, path, is_public });
                    return;
                }
                [Token::Sign('{'), ..] => {
                    let mut inner = Cursor { rest: self.group('{', '}').unwrap_or_default() };
                    while !inner.rest.is_empty() {
                        inner.tree(&path, is_public, bindings);
                        // The comma.
                        inner.next();
                    }
                    return;
                }
                _ => break,
            }
        }
        name = name.or_else(|| path.last().cloned());
        if name.is_some() {
            bindings.push(Binding { name, path, is_public });
        }
    }
}
