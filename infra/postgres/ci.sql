-- The rights of CI's role in the database of SQLMesh's state: what the plan of a pull request needs, and no more.
-- Run by the owner, after prod's first plan, which creates the tables. Running it again changes nothing.

GRANT USAGE ON SCHEMA sqlmesh TO sqlmesh_ci;
GRANT SELECT ON ALL TABLES IN SCHEMA sqlmesh TO sqlmesh_ci;

-- New versions of models, and what was built of them. A version of prod can't be changed or deleted.
GRANT INSERT ON sqlmesh._snapshots, sqlmesh._intervals TO sqlmesh_ci;
-- A version that its environment stops using gets another week.
GRANT UPDATE (updated_ts) ON sqlmesh._snapshots TO sqlmesh_ci;
-- Intervals are added only. Those that are removed or restated would be computed again in prod, and only prod's plans
-- and runs write them.
ALTER TABLE sqlmesh._intervals ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS all_intervals ON sqlmesh._intervals;
DROP POLICY IF EXISTS added_intervals ON sqlmesh._intervals;
CREATE POLICY all_intervals ON sqlmesh._intervals FOR SELECT TO sqlmesh_ci USING (TRUE);
CREATE POLICY added_intervals ON sqlmesh._intervals FOR INSERT TO sqlmesh_ci
  WITH CHECK (NOT is_removed AND NOT is_pending_restatement);

-- Environments of pull requests. Prod's can't be written.
GRANT INSERT, UPDATE, DELETE ON sqlmesh._environments, sqlmesh._environment_statements TO sqlmesh_ci;
ALTER TABLE sqlmesh._environments ENABLE ROW LEVEL SECURITY;
ALTER TABLE sqlmesh._environment_statements ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS all_environments ON sqlmesh._environments;
DROP POLICY IF EXISTS all_environments ON sqlmesh._environment_statements;
DROP POLICY IF EXISTS pull_requests ON sqlmesh._environments;
DROP POLICY IF EXISTS pull_requests ON sqlmesh._environment_statements;
CREATE POLICY all_environments ON sqlmesh._environments FOR SELECT TO sqlmesh_ci USING (TRUE);
CREATE POLICY all_environments ON sqlmesh._environment_statements FOR SELECT TO sqlmesh_ci USING (TRUE);
CREATE POLICY pull_requests ON sqlmesh._environments TO sqlmesh_ci USING (name ~ '^pr_[0-9]+$');
CREATE POLICY pull_requests ON sqlmesh._environment_statements TO sqlmesh_ci USING (environment_name ~ '^pr_[0-9]+$');
