//! Which files use which, and the circles among them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::modules::Crate;

/// Returns the circles of a crate, as `a -> b -> a`: a shortest one for each file that is in
/// any.
pub(super) fn circles(source: &Crate) -> BTreeSet<String> {
    let uses = uses(source);
    let shortest = uses.keys().filter_map(|file| shortest_circle(*file, &uses));
    shortest.map(|circle| shown(&circle, &source.files)).collect()
}

/// Returns the files that each file uses, by number.
fn uses(source: &Crate) -> BTreeMap<usize, BTreeSet<usize>> {
    let mut uses: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    let mut add = |from: usize, to: Option<usize>| {
        let (Some(from), Some(to)) = (source.modules.get(from), to.and_then(|to| source.modules.get(to))) else { return };
        if from.file != to.file {
            uses.entry(from.file).or_default().insert(to.file);
        }
    };
    for (number, module) in source.modules.iter().enumerate() {
        for binding in &module.code.bindings {
            let to = source.resolve(number, &binding.path);
            let is_used = binding.name.as_ref().is_some_and(|name| module.code.names.contains(name));
            let is_re_export = binding.is_public && to.is_some_and(|to| source.is_below(to, number));
            if is_used || !is_re_export {
                add(number, to);
            }
            // A glob: each name in the code may come from it.
            if binding.name.is_none() && !is_re_export {
                for name in &module.code.names {
                    let path = [&binding.path[..], std::slice::from_ref(name)].concat();
                    add(number, source.resolve(number, &path));
                }
            }
        }
        for path in &module.code.paths {
            add(number, source.resolve(number, path));
        }
    }
    uses
}

/// Returns a shortest way from a file back to itself.
fn shortest_circle(start: usize, uses: &BTreeMap<usize, BTreeSet<usize>>) -> Option<Vec<usize>> {
    let mut came_from: BTreeMap<usize, usize> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(file) = open.pop_front() {
        for next in uses.get(&file).into_iter().flatten() {
            if *next == start {
                let mut circle = vec![file];
                while let Some(before) = circle.last().and_then(|last| came_from.get(last)) {
                    circle.push(*before);
                }
                circle.reverse();
                return Some(circle);
            }
            if !came_from.contains_key(next) {
                came_from.insert(*next, file);
                open.push_back(*next);
            }
        }
    }
    None
}

/// Returns the text of a circle, which begins with the first of its names.
fn shown(circle: &[usize], files: &[String]) -> String {
    let mut names: Vec<&str> = circle.iter().filter_map(|file| files.get(*file)).map(String::as_str).collect();
    let first = names.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(at, _)| at);
    names.rotate_left(first);
    names.extend(names.first().copied());
    names.join(" -> ")
}
