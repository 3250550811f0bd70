import ArgumentParser
import Base
import CLISupport
import Model
import Trust

struct KeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "Make and list signing keys.",
        discussion: "Example: holdfast keys generate alice-root alice-targets",
        subcommands: [KeysGenerate.self, KeysAddToken.self, KeysList.self, KeysShow.self])
}

extension KeyStore.Entry {
    /// What may be shown of a key; read back as a public key by `repo init` and others.
    var json: JSONValue {
        var fields = publicKey.json.object ?? [:]
        fields["name"] = .string(name)
        fields["keyid"] = .string(keyID)
        fields["protection"] = .string(protection.rawValue)
        return .object(fields)
    }
}

struct KeysGenerate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate", abstract: "Make Ed25519 keys, encrypted with a passphrase.",
        discussion: """
            The passphrase is asked for on the terminal, or read from a file or descriptor;
            never from the command line.

            Example: holdfast keys generate alice-root --passphrase-file ~/.secret
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var keyStore: KeyStoreOptions
    @Flag(help: "Keep the keys unencrypted: for a lab.") var plain = false
    @Argument(help: "Names of the keys.") var names: [String]

    mutating func validate() throws {
        guard !plain || !keyStore.passphrase.isGiven else { throw ValidationError("--plain goes without a passphrase") }
    }

    func run() async throws {
        let console = output.console
        let passphrase = plain ? Passphrase.none : keyStore.reader(confirm: true)
        var entries: [KeyStore.Entry] = []
        for name in names { entries.append(try keyStore.store.generate(name, passphrase: passphrase)) }
        console.table(Formatting.keys(entries), json: .array(entries.map(\.json)), empty: "no keys")
        if plain { console.warn("the keys are not encrypted; do not use them outside a lab") }
    }
}

struct KeysAddToken: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add-token", abstract: "Record a key that lives in a PKCS#11 token.",
        discussion: """
            The private key stays in the token; the PIN is asked for when it signs, as a
            passphrase is. P-256 and RSA keys are taken.

            Example: holdfast keys add-token hsm-root --token holdfast --label root \\
                --module /usr/lib/softhsm/libsofthsm2.so
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var keyStore: KeyStoreOptions
    @Argument(help: "Name of the key here.") var name: String
    @Option(help: ArgumentHelp("PKCS#11 library of the token.", valueName: "file")) var module: String
    @Option(help: ArgumentHelp("Label of the token.", valueName: "label")) var token: String
    @Option(help: ArgumentHelp("Label of the key pair in the token.", valueName: "label")) var label: String

    func run() async throws {
        let reference = TokenReference(module: module, tokenLabel: token, keyLabel: label)
        let entry = try keyStore.store.add(name, token: reference, publicKey: try reference.publicKey())
        output.console.table(Formatting.keys([entry]), json: entry.json, empty: "no keys")
    }
}

struct KeysList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the keys of this machine.", discussion: "Example: holdfast keys list")

    @OptionGroup var output: OutputOptions
    @OptionGroup var keyStore: KeyStoreOptions

    func run() async throws {
        let entries = try keyStore.store.list()
        output.console.table(
            Formatting.keys(entries), json: .array(entries.map(\.json)),
            empty: "no keys in \(keyStore.store.directory)")
    }
}

struct KeysShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show a key's public part.",
        discussion: """
            With --output json the result is a file that others give to repo init, rotate
            and delegate.

            Example: holdfast keys show alice-root --output json > alice-root.json
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var keyStore: KeyStoreOptions
    @Argument(help: "Name of the key.") var name: String

    func run() async throws {
        let entry = try keyStore.store.entry(name)
        let console = output.console
        console.result(entry.json) {
            """
            name        \(TerminalText.sanitized(entry.name))
            keyid       \(entry.keyID)
            scheme      \(entry.publicKey.scheme)
            protection  \(entry.protection.rawValue)
            public      \(TerminalText.sanitized(entry.publicKey.value, lines: true))
            """
        }
    }
}
