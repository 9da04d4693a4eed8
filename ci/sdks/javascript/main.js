// Calls a fresh `dryfit cloud` through AWS SDK for JavaScript v3, and prints one line per answer.
import * as EC2 from "@aws-sdk/client-ec2";
import * as EKS from "@aws-sdk/client-eks";
import * as IAM from "@aws-sdk/client-iam";
import * as Pricing from "@aws-sdk/client-pricing";
import * as SQS from "@aws-sdk/client-sqs";
import * as SSM from "@aws-sdk/client-ssm";
import * as STS from "@aws-sdk/client-sts";

const trust = JSON.stringify({
  Version: "2012-10-17",
  Statement: [{ Effect: "Allow", Principal: { Service: "ec2.amazonaws.com" }, Action: "sts:AssumeRole" }],
});
const parameter = "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/recommended/image_id";
const name = "sdk-javascript";
const say = (...words) => console.log(words.join(" "));
const fault = async (call) => {
  try {
    await call;
  } catch (error) {
    return error;
  }
  throw new Error("no error came");
};
const typed = (is) => (is ? "typed" : "not typed");

say("sts account", (await new STS.STS().getCallerIdentity()).Account);

const ec2 = new EC2.EC2();
const zones = (await ec2.describeAvailabilityZones()).AvailabilityZones.map((zone) => zone.ZoneName).sort();
say("ec2 zones", ...zones);
const [kind] = (await ec2.describeInstanceTypes({ InstanceTypes: ["m5.large"] })).InstanceTypes;
say("ec2 type", kind.InstanceType, "vcpus", kind.VCpuInfo.DefaultVCpus, "memory", kind.MemoryInfo.SizeInMiB);
const seen = [];
for await (const page of EC2.paginateDescribeInstanceTypes({ client: ec2, pageSize: 100 }, {})) {
  seen.push(...page.InstanceTypes.map((kind) => kind.InstanceType));
}
if (seen.length < 500 || new Set(seen).size !== seen.length) throw new Error(`pages gave ${seen.length} types`);
say("ec2 types paged all there");

const image = (await new SSM.SSM().getParameter({ Name: parameter })).Parameter.Value;
say("ssm image", image.split("-")[0]);

const run = {
  ImageId: image,
  InstanceType: "m5.large",
  MinCount: 1,
  MaxCount: 1,
  TagSpecifications: [{ ResourceType: "instance", Tags: [{ Key: "sdk", Value: "smoke" }] }],
};
const dry = await fault(ec2.runInstances({ ...run, DryRun: true }));
say("ec2 dry run", dry.name, dry.$metadata.httpStatusCode);
const [made] = (await ec2.runInstances(run)).Instances;
say("ec2 run", made.State.Name, made.InstanceType);
const found = (await ec2.describeInstances({ InstanceIds: [made.InstanceId] })).Reservations;
const [tag] = found[0].Instances[0].Tags;
say("ec2 describe", found.length, "tag", `${tag.Key}=${tag.Value}`);
const [ended] = (await ec2.terminateInstances({ InstanceIds: [made.InstanceId] })).TerminatingInstances;
say("ec2 terminate", ended.CurrentState.Name);
const gone = await fault(ec2.describeInstances({ InstanceIds: ["i-0123456789abcdef0"] }));
say("ec2 fault", gone.name, gone.message);

const iam = new IAM.IAM();
await iam.createRole({ RoleName: name, Path: "/sdk/", AssumeRolePolicyDocument: trust });
say("iam role", (await iam.getRole({ RoleName: name })).Role.Path);
await iam.deleteRole({ RoleName: name });
say("iam fault NoSuchEntity", typed((await fault(iam.getRole({ RoleName: name }))) instanceof IAM.NoSuchEntityException));

const sqs = new SQS.SQS();
const { QueueUrl } = await sqs.createQueue({ QueueName: name });
await sqs.sendMessage({ QueueUrl, MessageBody: '<one> & "two"' });
const [got] = (await sqs.receiveMessage({ QueueUrl, WaitTimeSeconds: 1 })).Messages;
say("sqs body", got.Body);
await sqs.deleteMessage({ QueueUrl, ReceiptHandle: got.ReceiptHandle });
await sqs.deleteQueue({ QueueUrl });
say("sqs fault QueueDoesNotExist", typed((await fault(sqs.getQueueUrl({ QueueName: "none" }))) instanceof SQS.QueueDoesNotExist));

const eks = new EKS.EKS();
say("eks clusters", (await eks.listClusters({})).clusters.length);
const unknown = await fault(eks.describeCluster({ name: "none" }));
say("eks fault ResourceNotFound", typed(unknown instanceof EKS.ResourceNotFoundException), unknown.message);

const wanted = {
  regionCode: "us-east-1",
  instanceType: "m5.large",
  operatingSystem: "Linux",
  tenancy: "Shared",
  preInstalledSw: "NA",
  capacitystatus: "Used",
};
const { PriceList } = await new Pricing.Pricing({ region: "us-east-1" }).getProducts({
  ServiceCode: "AmazonEC2",
  Filters: Object.entries(wanted).map(([Field, Value]) => ({ Type: "TERM_MATCH", Field, Value })),
});
for (const offer of Object.values(JSON.parse(PriceList[0]).terms.OnDemand)) {
  for (const dimension of Object.values(offer.priceDimensions)) say("pricing m5.large", dimension.pricePerUnit.USD);
}
