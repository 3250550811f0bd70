import CLISupport

await CommandRunner.main(HoldfastCommand.self)
