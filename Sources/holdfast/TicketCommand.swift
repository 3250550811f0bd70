import ArgumentParser
import Base
import CLISupport
import Model
import Operator
import Trust

struct TicketCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ticket", abstract: "Prove to a device without a clock that a repository is the newest.",
        discussion: """
            The device shows a nonce (holdfast-agent nonce); the answer goes back on the
            stick (holdfast-agent import BUNDLE --ticket FILE, with a bundle of the same
            repository as it is now). It is signed with a key that the root names by
            x-holdfast-freshness, or with the timestamp key where it names none.

            Example: holdfast ticket --repo fleet --device pump-7 \\
                --nonce 00112233445566778899aabbccddeeff -o ticket.json
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var workspace: WorkspaceOptions
    @OptionGroup var signing: SigningOptions
    @Option(help: "The device's id.") var device: String
    @Option(help: ArgumentHelp("The device's nonce: 32 hex digits.", valueName: "hex")) var nonce: String
    @Option(
        name: [.customShort("o"), .customLong("out")], help: ArgumentHelp("The file to write.", valueName: "file"))
    var destination: String

    func run() async throws {
        let workspace = try workspace.open()
        guard let bytes = Hex.decode(nonce), bytes.count == 16 else {
            throw OperatorError(
                .value, "\"\(nonce)\" is no nonce", hint: "give the 32 hex digits that the device showed")
        }
        let status = try workspace.repository.status()
        guard let snapshot = status.roles.first(where: { $0.name == "snapshot" }), snapshot.version > 0 else {
            throw OperatorError(.notSigned, "the repository has no signed snapshot yet")
        }
        guard !device.isEmpty else {
            throw OperatorError(.value, "an empty id names no device", hint: "give the id that the device showed")
        }
        // A ticket by any other key, or by too few, would be carried out to the device and refused there.
        let allowed = try workspace.repository.ticketSigners()
        let keys = signing.keyStore.signingKeys
        let here = try keys.store.list().filter { allowed.keyIDs.contains($0.keyID) }.map(\.name)
        let names = signing.names.isEmpty ? here : signing.names
        let signers = try names.isEmpty ? [] : keys.signers(for: [], named: names)
        guard Set(signers.map(\.keyID)).intersection(allowed.keyIDs).count >= allowed.threshold else {
            let keyIDs = allowed.keyIDs.sorted().map { String($0.prefix(16)) }.joined(separator: ", ")
            throw OperatorError(
                .noKey,
                "a ticket for \(workspace.path) needs signatures of \(allowed.threshold) of its keys; not so many are "
                    + (signing.names.isEmpty ? "here" : "given"),
                hint: "run this where these keys are: \(keyIDs)")
        }
        let ticket = FreshnessTicket(
            device: device, nonce: bytes, snapshotVersion: snapshot.version, issued: SystemClock.live.now())
        let envelope = try ticket.signed(by: signers)
        try FileSystem().replace(destination, with: envelope.bytes, op: "ticket.write")
        output.console.result(
            [
                "path": .string(destination), "device": .string(device), "snapshot": .integer(snapshot.version),
                "issued": .string(ticket.issued.description),
            ]
        ) { "wrote \(destination): snapshot \(snapshot.version) is the newest, for \(device)" }
    }
}
