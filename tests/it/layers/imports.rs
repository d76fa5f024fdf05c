//! The paths that a source file names: in imports, also grouped and renamed ones, in expressions
//! and types, and among the tokens of macros. Each starts with `crate` or with the name of a crate.

use std::collections::{BTreeSet, HashMap};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    ItemMod, ItemUse, Macro, Path, UseTree, VisRestricted,
    visit::{self, Visit},
};

/// Parses `text`, the file of the module `module` of its crate, and returns all paths in it. The
/// last segment of a glob import is `*`.
pub(super) fn paths(text: &str, module: &[String]) -> BTreeSet<String> {
    let file = syn::parse_file(text).unwrap();
    let mut imports = Imports { module: module.to_vec(), found: Vec::new() };
    imports.visit_file(&file);
    let mut names: HashMap<&str, Vec<&[String]>> = HashMap::new();
    for Found { path, name } in &imports.found {
        if let Some(name) = name {
            names.entry(name).or_default().push(path);
        }
    }
    let mut paths = BTreeSet::new();
    for Found { path, .. } in &imports.found {
        paths.insert(path.join("::"));
        // A path may start with an imported name: `use std::time; time::Instant::now()`.
        let (first, rest) = path.split_first().unwrap();
        for imported in names.get(first.as_str()).into_iter().flatten() {
            paths.insert([imported, rest].concat().join("::"));
        }
    }
    paths
}

struct Found {
    path: Vec<String>,
    /// The local name of an import.
    name: Option<String>,
}

struct Imports {
    /// The current module.
    module: Vec<String>,
    found: Vec<Found>,
}

impl Imports {
    fn add(&mut self, path: &[String], name: Option<String>) {
        let mut from = self.module.as_slice();
        let mut rest = path;
        let mut is_relative = false;
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "self" => {}
                "super" => from = from.split_last().map_or(from, |(_, parents)| parents),
                _ => break,
            }
            (is_relative, rest) = (true, others);
        }
        let own = [String::from("crate")];
        let path = if is_relative { [&own, from, rest].concat() } else { rest.to_vec() };
        if !path.is_empty() {
            self.found.push(Found { path, name });
        }
    }

    fn add_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&with(path.ident.to_string()), &path.tree),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_tree(before, tree));
            }
            UseTree::Glob(_) => self.add(&with("*".into()), None),
            // `a::{self}` is `a`.
            UseTree::Name(name) if name.ident == "self" && !before.is_empty() => {
                self.add(before, before.last().cloned());
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                self.add(&with(name.clone()), Some(name));
            }
            UseTree::Rename(rename) => {
                let path = if rename.ident == "self" {
                    before.to_vec()
                } else {
                    with(rename.ident.to_string())
                };
                self.add(&path, Some(rename.rename.to_string()));
            }
        }
    }

    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => {
                    path.push(ident.to_string());
                }
                other => {
                    self.add(&std::mem::take(&mut path), None);
                    match other {
                        TokenTree::Ident(ident) => path.push(ident.to_string()),
                        TokenTree::Group(group) => self.add_tokens(group.stream()),
                        TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                    }
                }
            }
            colons = 0;
        }
        self.add(&path, None);
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let segments: Vec<_> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&segments, None);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        visit::visit_macro(self, item);
        self.add_tokens(item.tokens.clone());
    }

    /// The path in the visibility of an item is not a use.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}
}
