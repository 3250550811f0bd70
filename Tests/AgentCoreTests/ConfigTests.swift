import AgentCore
import Base
import Model
import ServiceSupport
import TestSupport
import Testing

@Suite struct ConfigTests {
    private func refusal(_ text: String) -> AgentError? {
        do throws(AgentError) {
            _ = try AgentConfig.parse(Array(text.utf8), name: "agent.json")
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: [
        ("[]", "agent.json:1: the file is not a JSON object"),
        ("{\n  \"tick\": 1\n}", "agent.json:2: \"tick\" is no field of the configuration"),
        (
            "{\n\"reconcile\": {\n\n\"tickSecond\": 3}}",
            "agent.json:4: \"reconcile.tickSecond\" is no field of the configuration"
        ),
        ("{\"reconcile\": {\"tickSeconds\": \"3\"}}", "agent.json:1: \"reconcile.tickSeconds\" is not a whole number"),
        ("{\"reconcile\": {\"tickSeconds\": 0}}", "agent.json:1: \"reconcile.tickSeconds\" is not between 1 and 86400"),
        ("{\"reconcile\": 3}", "agent.json:1: \"reconcile\" is not an object"),
        ("{\"stateDirectory\": \"var\"}", "agent.json:1: \"stateDirectory\" is not an absolute path"),
        ("{\"clock\":\n{\"trust\": \"ntp\"}}", "agent.json:2: \"clock.trust\" is not one of kernel, always, never"),
        ("{\"log\": {\"level\": \"info\"}, \"log\": {}}", "agent.json: the same JSON key twice"),
        ("{", "agent.json: malformed JSON"),
    ])
    func whatIsWrongIsRefusedWithItsPlace(text: String, message: String) {
        let error = refusal(text)
        #expect(error?.code == "agent.configuration")
        #expect(error?.message.hasPrefix(message) == true, "\(error?.message ?? "accepted")")
    }

    @Test func aMisspeltFieldIsOfferedTheRightOne() {
        #expect(refusal("{\"reconcile\": {\"tickSecond\": 3}}")?.hint == "did you mean \"reconcile.tickSeconds\"?")
    }

    @Test func anEmptyConfigurationIsTheDefault() throws {
        #expect(try AgentConfig.parse(Array("{}".utf8), name: "x") == AgentConfig())
    }

    @Test func everyFieldRoundTrips() throws {
        var config = AgentConfig()
        config.socketGroup = "staff"
        config.groupMayChange = true
        config.tickSeconds = 7
        config.clockTrust = .never
        config.logLevel = .debug
        config.stateReserve = 0
        let bytes = try config.json.serialized(.pretty)
        #expect(try AgentConfig.parse(bytes, name: "x") == config)
    }

    @Test func theDefaultFileHasEveryFieldAtItsDefault() throws {
        let bytes = Array(try Repository.text("agent-config/agent.json").utf8)
        #expect(try AgentConfig.parse(bytes, name: "agent.json") == AgentConfig())
        var document = try #require(try JSONValue(parsing: bytes).object)
        document["$schema"] = nil
        #expect(JSONValue.object(document) == AgentConfig().json)
    }

    @Test func theCommittedSchemaIsTheGeneratedOne() throws {
        let text = try Repository.text("agent-config/agent.schema.json")
        #expect(try text == String(decoding: AgentConfig.schema.serialized(.pretty), as: UTF8.self))
    }

    @Test func theUnitRunsACommandThatExists() throws {
        let unit = try Repository.text("agent-config/holdfast-agent.service")
        #expect(unit.contains("\nExecStart=/usr/bin/holdfast-agent run --config /etc/holdfast/agent.json\n"))
        #expect(unit.contains("\nType=notify\n") && unit.contains("\nWatchdogSec="))
        // The state directory and the socket of the default configuration are the unit's.
        #expect(unit.contains("\nStateDirectory=\(Path.name(AgentConfig().stateDirectory))\n"))
        #expect(unit.contains("\nRuntimeDirectory=\(Path.name(Path.parent(AgentConfig().socketPath)))\n"))
        let rules = try Repository.text("agent-config/90-holdfast-stick.rules")
        #expect(rules.contains("holdfast-stick@%k.service"))
        #expect(try Repository.text("agent-config/holdfast-stick@.service").contains("/usr/lib/holdfast/import-stick"))
        let tmpfiles = try Repository.text("agent-config/holdfast.tmpfiles")
        #expect(tmpfiles.contains("d \(AgentConfig().stateDirectory) 0700"))
    }
}
