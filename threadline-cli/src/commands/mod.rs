//! What each command does.

mod as_of;
mod audit;
mod baseline;
mod export;
mod hold;
mod install;
mod maintain;
mod purge;
mod redact;
mod report;
mod retention;
mod status;
mod timeline;
mod transaction;
mod upgrade;

use std::process::ExitCode;

use clap::CommandFactory;

use crate::Result;
use crate::arguments::{Arguments, Command};
use crate::output::exact;

pub(crate) fn run(
    Arguments {
        connection,
        command,
    }: Arguments,
) -> Result<ExitCode> {
    let done = match command {
        Command::AsOf(arguments) => as_of::run(&mut connection.establish()?, &arguments),
        Command::Audit(arguments) => audit::audit(&connection, &arguments),
        Command::Baseline(arguments) => baseline::run(&mut connection.establish()?, &arguments),
        Command::Continuity(output) => report::continuity(&mut connection.establish()?, &output),
        Command::Coverage(arguments) => {
            return report::coverage(&mut connection.establish()?, &arguments);
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "threadline", &mut exact());
            Ok(())
        }
        Command::Exempt(arguments) => audit::exempt(&connection, &arguments),
        Command::Export(arguments) => export::run(&mut connection.establish()?, &arguments),
        Command::Health(output) => return report::health(&mut connection.establish()?, &output),
        Command::History(arguments) => timeline::history(&mut connection.establish()?, &arguments),
        Command::Hold(arguments) => hold::run(&mut connection.establish()?, arguments),
        Command::Install(arguments) if arguments.to.apply => {
            install::apply(&mut connection.establish()?)
        }
        Command::Install(arguments) => install::write(&arguments.to),
        Command::Maintain { months } => maintain::run(&mut connection.establish()?, months),
        Command::Man => Ok(clap_mangen::Man::new(Arguments::command()).render(&mut exact())?),
        Command::Purge(arguments) => purge::run(&mut connection.establish()?, arguments),
        Command::Retention(arguments) => retention::run(&mut connection.establish()?, &arguments),
        Command::Redact(arguments) => {
            return redact::run(&mut connection.establish()?, &arguments);
        }
        Command::Refresh(arguments) => upgrade::refresh(&mut connection.establish()?, &arguments),
        Command::Status { output } => status::run(&mut connection.establish()?, &output),
        Command::Timeline(arguments) => timeline::run(&mut connection.establish()?, &arguments),
        Command::Transaction(arguments) => {
            transaction::run(&mut connection.establish()?, &arguments)
        }
        Command::Unaudit(arguments) => audit::unaudit(&connection, &arguments),
        Command::Upgrade(arguments) => upgrade::upgrade(&mut connection.establish()?, &arguments),
    };
    done.map(|()| ExitCode::SUCCESS)
}
