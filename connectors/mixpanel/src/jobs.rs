//! Mixpanel's own jobs: retrieval and deletion of what it holds about distinct ids.
//!
//! <https://docs.mixpanel.com/reference/gdpr-api>

use protocol::fault::Fault;
use protocol::http::Request;
use protocol::message::{DataType, RequestType};
use protocol::silo::{Handle, JobStatus};
use protocol::{Deserialize, Result, Serialize};
use serde_json::json;

use crate::Mixpanel;

/// How many distinct ids one job takes.
const IDS: usize = 2_000;

/// What finds the jobs of one request again: one for each two thousand ids.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tasks {
    pub(crate) tasks: Vec<String>,
}

fn path(request: RequestType) -> &'static str {
    match request {
        RequestType::Query => "api/app/data-retrievals/v3.0/",
        RequestType::Delete => "api/app/data-deletions/v3.0/",
    }
}

fn path_of_one(request: RequestType) -> &'static str {
    match request {
        RequestType::Query => "api/app/data-retrievals/v3.0/{task}/",
        RequestType::Delete => "api/app/data-deletions/v3.0/{task}",
    }
}

/// Starts the jobs. Nobody's ids need none.
pub(crate) async fn start(silo: &Mixpanel, request: RequestType, ids: &[String]) -> Result<Handle> {
    #[derive(Deserialize)]
    struct Reply {
        results: Results,
    }
    #[derive(Deserialize)]
    struct Results {
        task_id: String,
    }
    let mut tasks = Vec::new();
    for ids in ids.chunks(IDS) {
        let ask = Request::post(path(request))
            .query("token", &silo.config.project_token)
            .json(json!({ "distinct_ids": ids, "compliance_type": "GDPR" }))
            .private();
        let Reply { results } = silo.api.gdpr.send(&ask).await?.json()?;
        tasks.push(results.task_id);
    }
    Handle::new(&Tasks { tasks })
}

/// How one job stands.
pub(crate) struct Task {
    pub(crate) status: JobStatus,
    /// Where its result is, once there is one.
    pub(crate) link: Option<String>,
}

pub(crate) async fn ask(silo: &Mixpanel, request: RequestType, task: &str) -> Result<Task> {
    #[derive(Deserialize)]
    struct Reply {
        results: Results,
    }
    #[derive(Deserialize)]
    struct Results {
        status: String,
        // The description and the service differ in the name.
        #[serde(default, alias = "results")]
        result: Option<String>,
    }
    let one = Request::get(path_of_one(request))
        .part("task", task)
        .query("token", &silo.config.project_token)
        .private();
    let Some(reply) = silo.api.gdpr.find(&one).await? else {
        let status = JobStatus::Failed("Mixpanel does not know the job any more".to_owned());
        return Ok(Task { status, link: None });
    };
    let Reply { results } = reply.json()?;
    let link = results.result.map(|link| link.trim_matches('"').to_owned());
    let link = link.filter(|link| !link.is_empty());
    let status = match (results.status.as_str(), request) {
        ("SUCCESS", RequestType::Query) => JobStatus::Complete(DataType::File),
        ("SUCCESS", RequestType::Delete) => JobStatus::Complete(DataType::None),
        ("PENDING" | "STAGING" | "STARTED", _) => JobStatus::Running,
        ("FAILURE", _) => JobStatus::Failed("Mixpanel says that its job failed".to_owned()),
        ("REVOKED", _) => JobStatus::Failed("the job was cancelled in Mixpanel".to_owned()),
        ("NOT_FOUND" | "NOT FOUND", _) => {
            JobStatus::Failed("Mixpanel does not know the job any more".to_owned())
        }
        _ => JobStatus::Failed("Mixpanel does not say how its job stands".to_owned()),
    };
    Ok(Task { status, link })
}

/// How the jobs of a request stand together: done when all are, failed when one is.
pub(crate) async fn status(
    silo: &Mixpanel,
    request: RequestType,
    handle: &Handle,
) -> Result<JobStatus> {
    let nothing = match request {
        RequestType::Query => DataType::File,
        RequestType::Delete => DataType::None,
    };
    let mut together = JobStatus::Complete(nothing);
    for task in handle.parse::<Tasks>()?.tasks {
        match ask(silo, request, &task).await?.status {
            JobStatus::Complete(_) => {}
            JobStatus::Running => together = JobStatus::Running,
            failed @ JobStatus::Failed(_) => return Ok(failed),
        }
    }
    Ok(together)
}

/// Whether the GDPR API takes the token: a job that is not there is a good answer.
pub(crate) async fn may_ask(silo: &Mixpanel) -> Result<()> {
    ask(silo, RequestType::Query, "none").await.map(drop)
}

/// Where the results of a retrieval are.
pub(crate) async fn links(silo: &Mixpanel, handle: &Handle) -> Result<Vec<String>> {
    let mut links = Vec::new();
    for task in handle.parse::<Tasks>()?.tasks {
        let Task { status, link } = ask(silo, RequestType::Query, &task).await?;
        match (status, link) {
            (JobStatus::Complete(_), Some(link)) => links.push(link),
            (JobStatus::Complete(_), None) => {
                return Err(Fault::system("Mixpanel's job is done and has no result").into());
            }
            (JobStatus::Running, _) => {
                return Err(Fault::transient("Mixpanel's job is not done yet").into());
            }
            (JobStatus::Failed(why), _) => return Err(Fault::system(why).into()),
        }
    }
    Ok(links)
}
