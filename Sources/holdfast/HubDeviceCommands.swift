import ArgumentParser
import Base
import CLISupport
import HubClient
import Model

struct HubDevicesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "devices", abstract: "List the devices, all or those of a selector or a fleet.",
        discussion: "Example: holdfast hub devices --selector site=harbour,state!=revoked")

    @OptionGroup var hub: HubOptions
    @Option(help: ArgumentHelp("A label selector as Kubernetes has it.", valueName: "selector")) var selector: String?
    @Option(help: ArgumentHelp("The devices of this fleet.", valueName: "fleet")) var fleet: String?

    func validate() throws {
        guard selector == nil || fleet == nil else { throw ValidationError("give --selector or --fleet, not both") }
    }

    func run() async throws {
        let items = try await hub.withClient { client in
            if let fleet { return try await client.list("/v1/fleets/\(HubClient.encoded(fleet))/devices") }
            return try await client.list("/v1/devices", query: selector.map { [("selector", $0)] } ?? [])
        }
        hub.console.table(HubText.devices(items), json: .array(items), empty: "no device")
    }
}

/// One device: shown, labelled, admitted, ended.
struct HubDeviceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "device", abstract: "Show and change one device.",
        discussion: "Example: holdfast hub device show d-2b7kq4",
        subcommands: [
            Show.self, Label.self, Approve.self, Reject.self, Revoke.self, RotateKey.self, Delete.self,
        ])

    struct Target: ParsableArguments {
        @OptionGroup var hub: HubOptions
        @Argument(help: ArgumentHelp("The device's id.", valueName: "device")) var device: String

        var path: String { "/v1/devices/\(HubClient.encoded(device))" }

        /// Does one thing to the device and shows it as it then is.
        func change(_ action: String, body: JSONValue? = nil) async throws {
            let item = try await hub.withClient { try await $0.send(.POST, "\(path)/\(action)", .init(body: body)) }
            show(item)
        }

        func show(_ item: JSONValue) { hub.console.result(item) { HubText.lines(item) } }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show a device.", discussion: "Example: holdfast hub device show d-2b7kq4 --output json")
        @OptionGroup var target: Target
        func run() async throws {
            target.show(try await target.hub.withClient { try await $0.send(.GET, target.path) })
        }
    }

    struct Label: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Set labels of a device, or take them away.",
            discussion: """
                What is not named stays as it is. Nothing is changed when somebody else changed the device meanwhile.

                Example: holdfast hub device label d-2b7kq4 site=harbour ring-
                """)
        @OptionGroup var target: Target
        @Argument(help: ArgumentHelp("NAME=VALUE sets a label, NAME- takes it away.", valueName: "label"))
        var labels: [String]

        func run() async throws {
            let item = try await target.hub.withClient { client in
                let device = try await client.send(.GET, target.path)
                guard let version = device["version"]?.integer else {
                    throw HubClientError(.answer, "the device has no version")
                }
                var members = device["labels"]?.object ?? [:]
                // The hub gives these itself.
                members["arch"] = nil
                members["state"] = nil
                for label in labels { try Self.apply(label, to: &members) }
                return try await client.send(
                    .PATCH, target.path,
                    .init(body: ["labels": .object(members)], headers: [("If-Match", "\"v\(version)\"")]))
            }
            target.show(item)
        }

        static func apply(_ label: String, to members: inout JSONObject) throws {
            if let (name, value) = LabelArgument.split(label) {
                members[name] = .string(value)
            } else if label.hasSuffix("-"), label.utf8.count > 1 {
                members[String(label.dropLast())] = nil
            } else {
                throw ValidationError("\"\(label)\" is neither NAME=VALUE nor NAME-")
            }
        }
    }

    struct Approve: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Admit a waiting device.", discussion: "Example: holdfast hub device approve d-2b7kq4")
        @OptionGroup var target: Target
        func run() async throws { try await target.change("approve") }
    }

    struct Reject: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Turn a waiting device away.", discussion: "Example: holdfast hub device reject d-2b7kq4")
        @OptionGroup var target: Target
        func run() async throws { try await target.change("reject") }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End a device's keys and access tokens at once.",
            discussion: "Example: holdfast hub device revoke d-2b7kq4 --reason stolen")
        @OptionGroup var target: Target
        @Option(help: ArgumentHelp("For the audit log.", valueName: "text")) var reason: String?
        func run() async throws {
            try await target.change("revoke", body: reason.map { ["reason": .string($0)] })
        }
    }

    struct RotateKey: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rotate-key", abstract: "Ask a device to change its WireGuard key.",
            discussion: "Example: holdfast hub device rotate-key d-2b7kq4")
        @OptionGroup var target: Target
        func run() async throws { try await target.change("rotate-key") }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove a device. Its keys and its token stay spent.",
            discussion: "Example: holdfast hub device delete d-2b7kq4")
        @OptionGroup var target: Target
        func run() async throws {
            try await target.hub.withClient { _ = try await $0.send(.DELETE, target.path) }
            target.hub.console.result(["deleted": .string(target.device)]) { "deleted \(target.device)" }
        }
    }
}

/// `NAME=VALUE` on a command line.
enum LabelArgument {
    static func split(_ text: String) -> (name: String, value: String)? {
        guard let equals = text.firstIndex(of: "="), equals != text.startIndex else { return nil }
        return (String(text[..<equals]), String(text[text.index(after: equals)...]))
    }

    static func labels(_ texts: [String]) throws -> JSONValue {
        var members: [String: JSONValue] = [:]
        for text in texts {
            guard let (name, value) = split(text) else { throw ValidationError("\"\(text)\" is not NAME=VALUE") }
            guard members.updateValue(.string(value), forKey: name) == nil else {
                throw ValidationError("the label \(name) is given twice")
            }
        }
        return .object(members)
    }
}
