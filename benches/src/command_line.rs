use std::env;

use lexopt::prelude::*;

use crate::Result;

/// What a benchmark understands: `flags` are options of one word, `numbers` such as have a number after them, and `words` stand alone.
pub struct CommandLine {
    pub help: &'static str,
    pub flags: &'static [&'static str],
    pub numbers: &'static [&'static str],
    pub words: &'static [&'static str],
}

/// What was said.
pub struct Arguments {
    flags: Vec<&'static str>,
    numbers: Vec<(&'static str, u32)>,
    pub words: Vec<&'static str>,
}

impl Arguments {
    pub fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    pub fn number(&self, name: &str) -> Option<u32> {
        let mut numbers = self.numbers.iter().rev();
        numbers.find(|(n, _)| *n == name).map(|(_, number)| *number)
    }
}

impl CommandLine {
    /// None when there is nothing to measure.
    pub fn read(&self) -> Result<Option<Arguments>> {
        let mut arguments = Arguments {
            flags: Vec::new(),
            numbers: Vec::new(),
            words: Vec::new(),
        };
        // Cargo says `--bench` when it benchmarks, and nothing when it tests: `cargo test --all-targets`.
        let mut benchmarking = false;
        let known = |names: &[&'static str], name: &str| names.iter().copied().find(|n| *n == name);
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            let (flag, number, word) = match &argument {
                Long(name) => (known(self.flags, name), known(self.numbers, name), None),
                Value(value) => (None, None, known(self.words, &value.to_string_lossy())),
                Short(_) => (None, None, None),
            };
            match argument {
                Long("bench") => benchmarking = true,
                Short('h') | Long("help") => {
                    println!("{}", self.help);
                    return Ok(None);
                }
                unknown => match (flag, number, word) {
                    (Some(flag), ..) => arguments.flags.push(flag),
                    (_, Some(name), _) => {
                        arguments.numbers.push((name, parser.value()?.parse()?));
                    }
                    (.., Some(word)) => arguments.words.push(word),
                    (None, None, None) => {
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
