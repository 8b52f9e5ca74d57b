use std::env;

use lexopt::prelude::*;

use super::Result;

/// What a benchmark understands: `flags` are options of one word, `numbers` such as have a number after them.
pub(crate) struct CommandLine {
    pub(crate) help: &'static str,
    pub(crate) flags: &'static [&'static str],
    pub(crate) numbers: &'static [&'static str],
}

/// What was said.
pub(crate) struct Arguments {
    flags: Vec<&'static str>,
    numbers: Vec<(&'static str, u32)>,
}

impl Arguments {
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        let mut numbers = self.numbers.iter().rev();
        numbers.find(|(n, _)| *n == name).map(|(_, number)| *number)
    }
}

impl CommandLine {
    /// None when there is nothing to measure.
    pub(crate) fn read(&self) -> Result<Option<Arguments>> {
        let mut arguments = Arguments {
            flags: Vec::new(),
            numbers: Vec::new(),
        };
        // Cargo says `--bench` when it benchmarks, and nothing when it tests: `cargo test --all-targets`.
        let mut benchmarking = false;
        let known = |names: &[&'static str], name: &str| names.iter().copied().find(|n| *n == name);
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            let (flag, number) = match &argument {
                Long(name) => (known(self.flags, name), known(self.numbers, name)),
                _ => (None, None),
            };
            match argument {
                Long("bench") => benchmarking = true,
                Short('h') | Long("help") => {
                    println!("{}", self.help);
                    return Ok(None);
                }
                unknown => match (flag, number) {
                    (Some(flag), _) => arguments.flags.push(flag),
                    (None, Some(name)) => {
                        arguments.numbers.push((name, parser.value()?.parse()?));
                    }
                    (None, None) => {
                        return Err(format!("{}\n\n{}", unknown.unexpected(), self.help).into());
                    }
                },
            }
        }
        if !benchmarking {
            let name = env::args().next().unwrap_or_default();
            eprintln!("{name} measures only when it is run by `cargo bench`, or with --bench");
            return Ok(None);
        }
        Ok(Some(arguments))
    }
}
