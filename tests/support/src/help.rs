//! Checking that a command's help is complete.

/// Returns the arguments and possible values without help, of a command and its
/// subcommands.
pub fn without_help(command: &clap::Command) -> Vec<String> {
    let name = command.get_name();
    let mut missing = Vec::new();
    if command.get_about().is_none() {
        missing.push(name.to_owned());
    }
    for argument in command.get_arguments() {
        if argument.get_help().is_none() {
            missing.push(format!("{name} {}", argument.get_id()));
        }
        let values = argument.get_possible_values();
        let silent = values.iter().filter(|value| value.get_help().is_none());
        missing.extend(silent.map(|value| format!("{name} {} {}", argument.get_id(), value.get_name())));
    }
    missing.extend(command.get_subcommands().flat_map(without_help).map(|below| format!("{name} {below}")));
    missing
}
