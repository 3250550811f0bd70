import Base
import Testing

@testable import WireGuard

@Suite struct HubDescriptorTests {
    private static let end = HubDescriptor.End(publicKey: .repeating(7), endpoint: "192.0.2.1:51820")
    private static func descriptor(_ sequence: Int64) -> HubDescriptor {
        HubDescriptor(
            hub: "north", sequence: sequence, issued: .init(seconds: 1_700_000_000),
            ends: [end, HubDescriptor.End(publicKey: .repeating(8), endpoint: "[2001:db8::1]:51821")])
    }
    private struct Unsigned: Error {}

    @Test func writesCanonicalJSON() throws {
        #expect(
            String(decoding: try Self.descriptor(3).payload(), as: UTF8.self)
                == #"{"ends":[{"endpoint":"192.0.2.1:51820","public-key":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="},"#
                + #"{"endpoint":"[2001:db8::1]:51821","public-key":"CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg="}],"#
                + #""hub":"north","issued":"2023-11-14T22:13:20Z","schema":1,"sequence":3}"#)
    }

    @Test func acceptsANewerOneOfTheSameHub() throws {
        let next = Self.descriptor(4)
        let payload = try next.payload()
        for current in [nil, Self.descriptor(3), next] {
            let accepted = try HubDescriptor.accept(envelope: [1], hub: "north", current: current) { envelope, type in
                #expect(envelope == [1])
                #expect(type == HubDescriptor.payloadType)
                return payload
            }
            #expect(accepted == next)
        }
    }

    @Test func refusesUnsignedOlderAndForeignOnes() throws {
        let payload = try Self.descriptor(4).payload()
        func accept(hub: String = "north", current: HubDescriptor?, signed: Bool = true) throws {
            _ = try HubDescriptor.accept(envelope: [1], hub: hub, current: current) { (_, _) in
                guard signed else { throw Unsigned() }
                return payload
            }
        }
        #expect(throws: WireGuardError.self) { try accept(current: nil, signed: false) }
        #expect(throws: WireGuardError.descriptor(why: "it is of hub north, not of south")) {
            try accept(hub: "south", current: nil)
        }
        #expect(throws: WireGuardError.descriptor(why: "sequence 4 is not above 5")) {
            try accept(current: Self.descriptor(5))
        }
        var altered = Self.descriptor(4)
        altered.ends.removeLast()
        #expect(throws: WireGuardError.descriptor(why: "sequence 4 is not above 4")) { try accept(current: altered) }
        #expect(throws: WireGuardError.limit(what: "bytes in a hub descriptor", limit: HubDescriptor.maxBytes)) {
            _ = try HubDescriptor.accept(
                envelope: [UInt8](repeating: 0, count: HubDescriptor.maxBytes + 1), hub: "north", current: nil
            ) { (_, _) in payload }
        }
    }

    @Test(arguments: [
        "", "{}", #"{"schema":2,"hub":"north","sequence":1,"issued":"2023-11-14T22:13:20Z","ends":[]}"#,
        #"{"schema":1,"hub":"north","sequence":1,"issued":"2023-11-14T22:13:20Z","ends":[]}"#,
        #"{"schema":1,"hub":"north","sequence":0,"issued":"2023-11-14T22:13:20Z","ends":[{}]}"#,
        #"{"schema":1,"hub":"","sequence":1,"issued":"2023-11-14T22:13:20Z","ends":[{}]}"#,
        #"{"schema":1,"hub":"north","sequence":1,"issued":"yesterday","ends":[{}]}"#,
        #"{"schema":1,"hub":"north","sequence":1,"issued":"2023-11-14T22:13:20Z","ends":[{"public-key":"x","endpoint":"1.2.3.4:5"}]}"#,
    ]) func refusesMalformedPayloads(text: String) {
        #expect(throws: WireGuardError.self) { try HubDescriptor(payload: Array(text.utf8)) }
    }
}
