//! Which file of `src/` uses which, read from its paths: those in `use`, and those that code writes out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The files below a source directory, and what each uses of the others.
pub(crate) struct Graph {
    modules: BTreeMap<Name, Module>,
}

/// One file uses another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    pub(crate) user: PathBuf,
    pub(crate) line: usize,
    pub(crate) used: PathBuf,
}

/// The path of a module, without `crate`.
type Name = Vec<String>;

struct Module {
    file: PathBuf,
    /// Each name that `use` brings into the module, and the path it stands for.
    names: BTreeMap<String, Imported>,
    /// The paths that the file depends on, each with its line.
    paths: Vec<(usize, Vec<String>)>,
}

struct Imported {
    path: Vec<String>,
    /// Else, modules outside of this one mean something else by the name, which is defined here.
    is_public: bool,
}

impl Graph {
    /// Reads files, each with its path below `src`.
    pub(crate) fn new(sources: &[(PathBuf, String)]) -> Self {
        let modules = sources
            .iter()
            .map(|(file, text)| (module_name(file), Module::read(file, text)))
            .collect();
        Self { modules }
    }

    /// What each file uses. A name that a `mod.rs` only hands on counts as one of the file that defines it.
    pub(crate) fn uses(&self) -> BTreeSet<Use> {
        let mut uses = BTreeSet::new();
        for (name, module) in &self.modules {
            for (line, path) in &module.paths {
                if let Some(used) = self.file_of(name, path, 0)
                    && used != module.file
                {
                    uses.insert(Use {
                        user: module.file.clone(),
                        line: *line,
                        used: used.to_owned(),
                    });
                }
            }
        }
        uses
    }

    /// A circle of files, the first again at the end.
    pub(crate) fn circle(&self) -> Option<Vec<PathBuf>> {
        let mut used_by: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
        for Use { user, used, .. } in self.uses() {
            used_by.entry(user).or_default().insert(used);
        }
        let mut done = BTreeSet::new();
        used_by
            .keys()
            .find_map(|file| circle_from(file, &used_by, &mut Vec::new(), &mut done))
    }

    /// The file in which a path ends, as seen from a module; none if it leads out of the crate or names what is local.
    fn file_of(&self, from: &Name, path: &[String], followed: usize) -> Option<&Path> {
        assert!(followed < 32, "{path:?} in {from:?} leads to itself");
        let mut module = from.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                module.clear();
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            child if !self.modules.contains_key(&below(&module, child)) => return None,
            _ => {}
        }
        while let Some((segment, after)) = rest.split_first() {
            let child = below(&module, segment);
            if self.modules.contains_key(&child) {
                module = child;
                rest = after;
                continue;
            }
            let imported = self.modules.get(&module)?.names.get(segment);
            let visible = imported.filter(|name| name.is_public || from.starts_with(&module));
            let file = visible.and_then(|Imported { path, .. }| {
                let path = [path, after].concat();
                self.file_of(&module, &path, followed + 1)
            });
            if file.is_some() {
                return file;
            }
            break;
        }
        Some(&self.modules.get(&module)?.file)
    }
}

impl Module {
    fn read(file: &Path, text: &str) -> Self {
        let code: Vec<&str> = text
            .lines()
            // Documentation may point anywhere.
            .map(|line| line.split("//").next().unwrap_or_default())
            .collect();
        let mut names = BTreeMap::new();
        let mut paths = Vec::new();
        let mut handed_on = Vec::new();
        let mut elsewhere = String::new();
        let mut children = Vec::new();
        // How far the inline module that we are in is indented: what is `super` to it is this file.
        let mut inline: Option<usize> = None;
        let mut number = 0;
        while let Some(line) = code.get(number) {
            let at = number + 1;
            let indent = line.len() - line.trim_start().len();
            let (is_public, item) = without_visibility(line.trim());
            number += 1;
            if let Some(name) = item.strip_prefix("mod ") {
                if let Some(name) = name.strip_suffix(';') {
                    children.push(name.to_owned());
                } else if inline.is_none() {
                    inline = Some(indent);
                }
                continue;
            }
            if inline == Some(indent) && line.trim() == "}" {
                inline = None;
            }
            let Some(tree) = item.strip_prefix("use ") else {
                let written_out = paths_in(line, &children).into_iter();
                paths.extend(written_out.map(|path| (at, seen_from_file(path, inline))));
                elsewhere.push_str(line);
                elsewhere.push('\n');
                continue;
            };
            let mut tree = tree.to_owned();
            while !tree.contains(';') {
                tree.push_str(code[number].trim());
                number += 1;
            }
            for (name, path) in names_of_tree(tree.trim_end_matches(';'), &[]) {
                let path = seen_from_file(path, inline);
                if path.len() > 1 && inline.is_none() {
                    let path = path.clone();
                    names.insert(name.clone(), Imported { path, is_public });
                }
                if is_public {
                    handed_on.push((at, name, path));
                } else {
                    paths.push((at, path));
                }
            }
        }
        // A file depends on what it hands on only if it uses that itself.
        let words: BTreeSet<_> = elsewhere.split(|c| !is_identifier(c)).collect();
        let own = handed_on.into_iter();
        let own = own.filter(|(_, name, _)| words.contains(name.as_str()));
        paths.extend(own.map(|(at, _, path)| (at, path)));
        Self {
            file: file.to_owned(),
            names,
            paths,
        }
    }
}

fn circle_from(
    file: &Path,
    used_by: &BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    way: &mut Vec<PathBuf>,
    done: &mut BTreeSet<PathBuf>,
) -> Option<Vec<PathBuf>> {
    if let Some(start) = way.iter().position(|passed| passed == file) {
        let circle = way[start..].iter().cloned();
        return Some(circle.chain([file.to_owned()]).collect());
    }
    if !done.insert(file.to_owned()) {
        return None;
    }
    way.push(file.to_owned());
    let used = used_by.get(file).into_iter().flatten();
    let circle = used
        .into_iter()
        .find_map(|used| circle_from(used, used_by, way, done));
    way.pop();
    circle
}

/// `query/timeline/mod.rs` is `query::timeline`.
fn module_name(file: &Path) -> Name {
    let segments = file
        .with_extension("")
        .iter()
        .map(|segment| segment.to_string_lossy().into_owned())
        .collect::<Vec<_>>();
    match segments.split_last() {
        Some((last, parents)) if last == "mod" || last == "lib" => parents.to_vec(),
        _ => segments,
    }
}

fn below(module: &Name, child: &str) -> Name {
    [module.as_slice(), &[child.to_owned()]].concat()
}

/// In an inline module, `super` is the file around it.
fn seen_from_file(mut path: Vec<String>, inline: Option<usize>) -> Vec<String> {
    if inline.is_some() && path[0] == "super" {
        "self".clone_into(&mut path[0]);
    }
    path
}

fn without_visibility(line: &str) -> (bool, &str) {
    let Some(rest) = line.strip_prefix("pub") else {
        return (false, line);
    };
    let rest = match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')').map_or("", |(_, rest)| rest),
        None => rest,
    };
    match rest.strip_prefix(' ') {
        Some(item) => (true, item),
        None => (false, line),
    }
}

/// The names that `a::{b, c::{self, d as e}}` brings, each with its path.
fn names_of_tree(tree: &str, before: &[String]) -> Vec<(String, Vec<String>)> {
    let tree = tree.trim();
    if let Some(list) = tree
        .strip_prefix('{')
        .and_then(|list| list.strip_suffix('}'))
    {
        let trees = at_top_level(list).into_iter();
        return trees.flat_map(|tree| names_of_tree(tree, before)).collect();
    }
    let end = tree.find(['{', ' ']).unwrap_or(tree.len());
    if let Some((head, tail)) = tree.split_once("::").filter(|(head, _)| head.len() < end) {
        let before = [before, &[head.to_owned()]].concat();
        return names_of_tree(tail, &before);
    }
    let (last, name) = tree.split_once(" as ").unwrap_or((tree, tree));
    let path = match last {
        "" => return Vec::new(),
        "self" | "*" if !before.is_empty() => before.to_vec(),
        last => [before, &[last.to_owned()]].concat(),
    };
    let name = if name == "self" {
        path.last().cloned().unwrap_or_default()
    } else {
        name.to_owned()
    };
    vec![(name, path)]
}

/// The parts of a list between its commas, but for commas within braces.
fn at_top_level(list: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    list.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

/// The paths in a line of code that begin with `crate`, `super` or a module of this file.
fn paths_in(line: &str, children: &[String]) -> Vec<Vec<String>> {
    line.split(|c| !is_identifier(c) && c != ':')
        .map(|path| path.split("::").map(ToOwned::to_owned).collect::<Vec<_>>())
        .filter(|path| path.len() > 1)
        .filter(|path| ["crate", "super"].contains(&&*path[0]) || children.contains(&path[0]))
        .map(|path| {
            // What `::<…>` and `::{` leave behind.
            path.into_iter()
                .take_while(|segment| !segment.is_empty())
                .collect()
        })
        .collect()
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
