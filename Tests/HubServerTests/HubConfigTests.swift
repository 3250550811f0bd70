import Base
import HubServer
import Model
import ServiceSupport
import TestSupport
import Testing

@Suite struct HubConfigTests {
    @Test func theExampleHasEveryFieldAtItsDefault() throws {
        let bytes = Array(try Repository.text("hub/deploy/hub.json").utf8)
        #expect(try HubConfig.decode(bytes, name: "hub.json") == HubConfig())
        var document = try #require(try JSONValue(parsing: bytes).object)
        document["$schema"] = nil
        #expect(JSONValue.object(document) == HubConfig().json)
    }

    @Test func theCommittedSchemaIsTheGeneratedOne() throws {
        let text = try Repository.text("hub/deploy/hub.schema.json")
        #expect(try text == String(decoding: HubConfig.schema.serialized(.pretty), as: UTF8.self))
    }

    @Test func aMisspeltFieldIsNamedWithItsLine() {
        let error = #expect(throws: ConfigError.self) {
            try HubConfig.decode(Array("{\n\"tunnel\": {\n\"listenport\": 1}}".utf8), name: "hub.json")
        }
        #expect(error?.message == "hub.json:3: \"tunnel.listenport\" is no field of the configuration")
        #expect(error?.hint == "did you mean \"tunnel.listenPort\"?")
    }

    @Test func theUnitRunsACommandThatExists() throws {
        let unit = try Repository.text("hub/deploy/holdfast-hub.service")
        #expect(unit.contains("\nExecStart=/usr/bin/holdfast-hub serve --config /etc/holdfast/hub.json\n"))
        #expect(unit.contains("\nType=notify\n"))
        #expect(unit.contains("\nStateDirectory=holdfast-hub\n"))
        #expect(HubConfig().stateDirectory == "/var/lib/holdfast-hub")
    }
}
