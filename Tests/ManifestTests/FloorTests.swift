import TestSupport
import Testing

/// Keeps the dependency direction of ARCHITECTURE.md.
@Suite struct FloorTests {
    let manifest: Manifest
    init() throws { manifest = try Manifest() }

    @Test func everyTargetStandsOnAFloor() {
        #expect(manifest.declared.count > 15)
        for name in manifest.declared.keys {
            #expect(manifest.floor(name) != nil, "\(name) is missing in the floor table of Package.swift")
        }
    }

    @Test func declaredDependenciesPointDown() throws {
        for (name, dependencies) in manifest.declared {
            let floor = try #require(manifest.floor(name))
            for dependency in dependencies {
                guard let lower = manifest.floor(dependency) else { continue }
                #expect(lower < floor, "\(name) (floor \(floor)) depends on \(dependency) (floor \(lower))")
            }
        }
    }

    @Test func importsAreDeclared() throws {
        for (name, dependencies) in manifest.declared {
            for (file, modules) in try manifest.imports(of: name) {
                for module in modules where manifest.floor(module) != nil {
                    #expect(dependencies.contains(module), "\(file) imports \(module), which \(name) does not declare")
                }
            }
        }
    }

    @Test func agentAndHubNeverMeet() throws {
        #expect(manifest.declared["HubCore"] != nil)
        let hub = manifest.declared.keys.filter { manifest.folders[$0]?.hasPrefix("hub/") == true }
        for module in hub {
            #expect(!reachable(from: module).contains("AgentCore"), "\(module) reaches AgentCore")
        }
        for module in ["AgentCore", "Operator", "holdfast-agent", "holdfast"] {
            #expect(reachable(from: module).isDisjoint(with: hub), "\(module) reaches the hub")
        }
    }

    @Test func agentAndOperatorNeverMeet() throws {
        #expect(!reachable(from: "AgentCore").contains("Operator"))
        #expect(!reachable(from: "Operator").contains("AgentCore"))
    }

    /// Full Foundation adds tens of megabytes to a static binary; the device has FoundationEssentials only.
    @Test func theAgentNeverImportsFoundation() throws {
        for module in reachable(from: "holdfast-agent").union(["holdfast-agent"]) {
            for (file, imported) in try manifest.imports(of: module) {
                #expect(!imported.contains("Foundation"), "\(file) imports Foundation")
            }
        }
    }

    private func reachable(from name: String) -> Set<String> {
        var seen: Set<String> = []
        var pending = [name]
        while let next = pending.popLast() {
            for dependency in manifest.declared[next] ?? [] where manifest.declared[dependency] != nil {
                if seen.insert(dependency).inserted { pending.append(dependency) }
            }
        }
        return seen
    }
}
