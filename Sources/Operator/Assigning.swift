import Base
import Trust

extension Workspace {
    /// The folder's director.
    ///
    /// - Throws: `operator.no-repository` when it has none.
    public func requireDirector() throws -> Repository {
        guard let director else {
            throw OperatorError(
                .noRepository, "there is no director's repository in \(path)",
                hint: "make one with: holdfast repo init \(path) --director")
        }
        return director
    }

    /// What the director is to list: a release that enough key holders have signed, since devices take nothing else.
    public func assignable(_ name: ReleaseName) throws -> ReleaseTarget {
        let target = try target(name)
        guard try isPublished(target) else { throw waits(name) }
        return target
    }

    func waits(_ name: ReleaseName) -> OperatorError {
        OperatorError(
            .notSigned, "\(name) waits for signatures",
            hint: "carry the folder to the other key holders and have them run: holdfast repo sign \(path)")
    }
}
