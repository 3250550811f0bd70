import Glibc
import Testing

@testable import WireGuard

@Suite struct AddressTextTests {
    @Test(arguments: [
        ("192.0.2.1", "192.0.2.1"), ("0.0.0.0", "0.0.0.0"), ("255.255.255.255", "255.255.255.255"),
        ("2001:db8:0:0:0:0:0:1", "2001:db8::1"), ("::", "::"), ("FD00::A", "fd00::a"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
    ]) func readsAndPrintsAddresses(text: String, printed: String) {
        #expect(IPAddress(text)?.description == printed)
    }

    /// Every pattern of zero groups, and random addresses of both families.
    @Test func printsAsTheCLibraryDoes() {
        var generator = SeededGenerator(seed: 8)
        var addresses: [IPAddress] = (0..<2000).map { _ in
            IPAddress(v4: UInt32.random(in: 0...UInt32.max, using: &generator))
        }
        for pattern in 0..<256 {
            for value in [1, 0x10, 0xABC, 0xFFFF] as [UInt64] {
                func half(_ bits: Int) -> UInt64 {
                    (0..<4).reduce(0) { $0 << 16 | (bits >> $1 & 1 == 1 ? value : 0) }
                }
                addresses.append(IPAddress(high: half(pattern >> 4), low: half(pattern & 15)))
            }
        }
        for _ in 0..<2000 { addresses.append(IPAddress(high: generator.next(), low: generator.next())) }
        for address in addresses {
            var text = [CChar](repeating: 0, count: 64)
            inet_ntop(address.family == .v4 ? AF_INET : AF_INET6, address.bytes, &text, 64)
            let expected = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            #expect(address.description == expected)
            #expect(IPAddress(address.description) == address)
        }
    }

    @Test(arguments: [
        "", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.4 ", "fe80::1%lo", ":::", "1::2::3", "g::",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999", "::1\u{0}", "0000:0000:0000:0000:0000:ffff:192.168.100.2288",
    ]) func refusesWhatIsNoAddress(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test(arguments: [
        ("10.1.2.3/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3/32"), ("10.1.2.3/0", "0.0.0.0/0"),
        ("fd00:1:2:3:4:5:6:7/64", "fd00:1:2:3::/64"), ("fd00::1", "fd00::1/128"), ("ffff::/1", "8000::/1"),
        ("fd00::ffff/127", "fd00::fffe/127"), ("fd00:0:0:1::/65", "fd00:0:0:1::/65"), ("::1/0", "::/0"),
    ]) func clearsHostBits(text: String, printed: String) {
        #expect(IPPrefix(text)?.description == printed)
    }

    @Test(arguments: ["10.0.0.0/33", "::/129", "10.0.0.0/", "/8", "10.0.0.0/-1", "10.0.0.0/8/8", "::/ 8"])
    func refusesWhatIsNoPrefix(text: String) {
        #expect(IPPrefix(text) == nil)
    }

    @Test(arguments: [
        ("192.0.2.1:51820", "192.0.2.1:51820"), ("[2001:db8::1]:1", "[2001:db8::1]:1"),
        ("[fe80::1%lo]:7", "[fe80::1%lo]:7"), ("[fe80::1%1]:7", "[fe80::1%lo]:7"),
        ("[fe80::1%4000000000]:7", "[fe80::1%4000000000]:7"),
    ]) func readsAndPrintsEndpoints(text: String, printed: String) {
        #expect(Endpoint(text)?.description == printed)
    }

    @Test(arguments: [
        "", ":1", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1", "2001:db8::1:51820", "[1.2.3.4]:1",
        "[::1]", "[::1:5", "[]:5", "[::1%]:5", "[::1%no-such-interface]:5", "example.com:5",
    ]) func refusesWhatIsNoEndpoint(text: String) {
        #expect(Endpoint(text) == nil)
    }

    @Test(arguments: ["", ".", "..", "a/b", "sixteencharacter", "a b", "a\n", "wg0\u{0}", "é"])
    func refusesWhatIsNoInterfaceName(text: String) {
        #expect(InterfaceName(text) == nil)
    }

    @Test func aPrefixContainsItsAddressesOnly() {
        let prefix: IPPrefix = "fd00:1::/64"
        #expect(prefix.contains("fd00:1::5"))
        #expect(!prefix.contains("fd00:1:0:1::5"))
        #expect(!prefix.contains("10.0.0.1"))
    }
}
