import ArgumentParser
import Base
import CLISupport
import FoundationEssentials
import Operator
import Trust

/// Where keys are, and how they are unlocked.
struct KeyStoreOptions: ParsableArguments {
    @Option(
        name: .customLong("keys"),
        help: ArgumentHelp(
            "Folder of private keys (default: $XDG_CONFIG_HOME/holdfast/keys).", valueName: "dir"))
    var directory: String?

    @OptionGroup var passphrase: PassphraseOptions

    var store: KeyStore { KeyStore(directory: directory ?? Self.standardDirectory) }

    private static var standardDirectory: String { Path.join(configDirectory, "keys") }

    /// Where this user's files of `holdfast` are.
    static var configDirectory: String {
        let environment = ProcessInfo.processInfo.environment
        let config = environment["XDG_CONFIG_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
        return Path.join(config ?? Path.join(environment["HOME"] ?? ".", ".config"), "holdfast")
    }

    /// Asks for each locked key: a file or descriptor answers for all, a person is asked for each.
    func reader(confirm: Bool = false) -> Passphrase {
        let options = passphrase
        return Passphrase { Array(try options.read(prompt: "Passphrase of \($0): ", confirm: confirm).utf8) }
    }

    var signingKeys: SigningKeys { SigningKeys(store: store, passphrase: reader()) }
}

/// Keys to sign with.
struct SigningOptions: ParsableArguments {
    @OptionGroup var keyStore: KeyStoreOptions

    @Option(
        name: .customLong("key"),
        help: ArgumentHelp("Sign with this key only; may be given again.", valueName: "name"))
    var names: [String] = []

    /// The signers that the repositories want and this machine has.
    func signers(for repositories: [Repository]) throws -> [any Signer] {
        try keyStore.signingKeys.signers(for: repositories, named: names)
    }
}
